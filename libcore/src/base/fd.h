/* fd.h - a descriptor that somebody wants to wait on. */
#ifndef OT_FD_H
#define OT_FD_H

#include <stdbool.h>
#include <stdint.h>

struct ot_fd {
    int fd;
    bool read;           /* wake me when it is readable */
    bool write;          /* wake me when it is writable */
    uint32_t generation; /* differs whenever another file may be behind the
                            same number: after each connect, and each
                            PQconnectPoll (libpq may change sockets in it);
                            0 where the file never changes */
};

#endif
