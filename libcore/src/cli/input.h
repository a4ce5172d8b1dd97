/* input.h - a descriptor read line by line. */
#ifndef OT_CLI_INPUT_H
#define OT_CLI_INPUT_H

#include "base/base.h"

struct ot_input {
    int fd;
    const char *name; /* for errors */
    size_t most;      /* bytes of one line */
    char *p;
    size_t start; /* of what was not handed out */
    size_t end;
    size_t size;
    bool eof;
    int64_t number; /* of the line that was handed out last, from 1 */
};

/* 1: *out is the next line without its end, valid until the next call; 0: no
 * more; E_IO, E_TOO_LARGE, E_NOMEM, E_INTERRUPTED. */
int ot_input_line(struct ot_input *, struct ot_slice *out,
                  struct outtray_error *err);
void ot_input_free(struct ot_input *);

/* All of a descriptor, at most `most` bytes. name is for the error. */
int ot_input_all(int fd, const char *name, size_t most, struct ot_buffer *out,
                 struct outtray_error *err);

#endif
