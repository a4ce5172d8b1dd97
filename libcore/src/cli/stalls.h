/* stalls.h - what keeps a subscription from moving, as codes and sentences.
 *
 * Three witnesses are heard: the cursor row, what its owner wrote down about
 * itself (while it still has the lease), and the database about locks and
 * transactions.
 */
#ifndef OT_CLI_STALLS_H
#define OT_CLI_STALLS_H

#include "cli/cli.h"

/* What the owner said, parsed. */
struct ot_cli_report {
    json_t *json;       /* NULL: it said nothing that can be read */
    const char *reason; /* "none" if it says that all is well */
    const char *detail;
    int64_t since_us; /* wall time of the database */
    bool live;        /* its author has the lease and renews it */
    bool silent;      /* has it, and has not renewed it when it should have */
};
void ot_cli_report_read(struct ot_cli_report *, const struct ot_status *);
void ot_cli_report_free(struct ot_cli_report *);

/* Sentences, each with a code: the reasons of `explain` and of `status`. */
struct ot_stalls {
    struct ot_cli *cli;
    json_t *list; /* of {code, text}; owned */
};
int ot_stalls_init(struct ot_stalls *, struct ot_cli *);
void ot_stalls_free(struct ot_stalls *);
void ot_stalls_say(struct ot_stalls *, const char *code, const char *fmt, ...)
    OUTTRAY_PRINTF(3, 4);
/* One line each. */
void ot_stalls_print(const struct ot_stalls *);

/* What the database says; the same for every subscription. */
int ot_stalls_database(struct ot_stalls *);
/* After E_STORE_BUSY: adds to cli->err who is in the way. */
void ot_stalls_blame(struct ot_stalls *);
/* What the cursor row and its owner say. False: nothing keeps it. */
bool ot_stalls_subscription(struct ot_stalls *, const struct ot_status *);

/* "running", "stalled", "paused", "silent", "relay gone", "no relay". */
const char *ot_stalls_state(const struct ot_status *,
                            const struct ot_cli_report *);

#endif
