/* fd.h - a descriptor that somebody wants to wait on. */
#ifndef OT_FD_H
#define OT_FD_H

#include <stdbool.h>

struct ot_fd {
    int fd;
    bool read;  /* wake me when it is readable */
    bool write; /* wake me when it is writable */
};

#endif
