/* writer.h - one file, written by a thread of its own, because a disk may
 * hang. */
#ifndef OT_SINK_FILE_WRITER_H
#define OT_SINK_FILE_WRITER_H

#include "sink/lines.h"
#include "sink/thread.h"

struct ot_writer;

/* What became of one piece of text. */
struct ot_written {
    size_t bytes;     /* whole lines that are in the file for good */
    bool maybe_rest;  /* the others may be there: the sync failed */
    int error;        /* errno; 0: all is well */
    char reason[400]; /* "" if all is well */
};

/* Starts the thread, opens nothing yet. NULL: no memory or no thread. */
struct ot_writer *ot_writer_new(const char *path, bool sync);

#define OT_NO_WRITER                                                  \
    "no memory, thread or file descriptor is left: raise the limits " \
    "(ulimit -u, -n), the relay tries again by itself"

/* What to do about that errno of the file: "; make the folder", or "". */
const char *ot_writer_advice(int error);

/* Readable when a result may be there. */
int ot_writer_fd(const struct ot_writer *);

/* Swaps text with an empty buffer and writes it. Only with no result owed. */
void ot_writer_put(struct ot_writer *, struct ot_buffer *text);

/* The result of the last put, once; false: not there yet. */
bool ot_writer_take(struct ot_writer *, struct ot_written *out);

/* Ends the thread, or leaves it to itself if the disk hangs longer. */
void ot_writer_free(struct ot_writer *, int64_t wait_us);

#endif
