/* token.h - tokens of OAUTHBEARER that somebody else puts into a file.
 *
 * The file is read again when librdkafka asks for a token, which it does when
 * four fifths of its life are over, and when the file changes.
 */
#ifndef OT_SINK_KAFKA_TOKEN_H
#define OT_SINK_KAFKA_TOKEN_H

#include <librdkafka/rdkafka.h>

#include "base/base.h"

/* The life of a token that does not tell its end. */
#define OT_KAFKA_TOKEN_MS 300000

struct ot_kafka_token {
    struct ot_buffer text;
    int64_t end_ms;   /* wall time since 1970 */
    char subject[64]; /* whose it is, cut; "" if it does not say */
};

/* The token of a file, which may have ended. now_ms: wall time since 1970.
 * @return 0; E_CONF: what is wrong with it, without a word of it; E_NOMEM */
int ot_kafka_token_read(struct ot_kafka_token *out, const char *path,
                        int64_t now_ms, struct outtray_error *err);
void ot_kafka_token_free(struct ot_kafka_token *);

/* Clients of conf log in with the tokens of that file. It must have one now,
 * which may have ended: then they wait for the next. @return as above */
int ot_kafka_token_use(rd_kafka_conf_t *conf, const char *path,
                       struct outtray_error *err);

/* Whether the file of a client changes. */
struct ot_kafka_token_watch {
    char *path; /* owned; NULL: it has none */
    uint64_t seen;
    bool settling; /* it changed when it was looked at last */
};
/* False: no memory. */
bool ot_kafka_token_watch(struct ot_kafka_token_watch *,
                          const rd_kafka_conf_t *conf);
void ot_kafka_token_watch_end(struct ot_kafka_token_watch *);
/* Gives the client its token anew if the file had changed when it was looked at
 * last, and has not since. Reads a disk. */
void ot_kafka_token_look(struct ot_kafka_token_watch *, rd_kafka_t *);

#endif
