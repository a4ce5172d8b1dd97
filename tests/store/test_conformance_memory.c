/* test_conformance_memory.c - the battery on the memory store. */
#include "conformance.h"

#include <stdio.h>

#include "store/memory/memory.h"

static void *make(void)
{
    return ot_memory_new();
}

static void drop(void *outbox)
{
    ot_memory_free(outbox);
}

static struct outtray_conf *conf_of(void *outbox)
{
    (void)outbox;
    return outtray_conf_new();
}

static struct ot_store *open_on(void *outbox, const struct outtray_conf *conf,
                                struct ot_uuid owner)
{
    struct outtray_error err;
    struct ot_store *s;

    if (ot_memory_open(outbox, &s, conf, owner, NULL, &err) != 0)
        fail_msg("%s", err.text);
    return s;
}

static void *begin(void *outbox)
{
    return ot_memory_begin(outbox);
}

static int64_t enqueue(void *tx, const struct ot_event *e)
{
    return ot_memory_enqueue(tx, e);
}

static void commit(void *tx)
{
    ot_memory_commit(tx);
}

static void rollback(void *tx)
{
    ot_memory_rollback(tx);
}

static void command(void *outbox, const char *subscription, enum ot_verb verb,
                    int64_t seq)
{
    assert_true(ot_memory_command(outbox, subscription, verb, seq) > 0);
}

static void report(void *outbox, const char *subscription, char *out,
                   size_t size)
{
    const char *text = ot_memory_report(outbox, subscription);

    snprintf(out, size, "%s", text != NULL ? text : "");
}

static void error_of(void *outbox, const char *subscription, int64_t seq,
                     char *out, size_t size)
{
    const char *text = ot_memory_error(outbox, subscription, seq);

    snprintf(out, size, "%s", text != NULL ? text : "");
}

static void cut(void *outbox, struct ot_store *s)
{
    (void)outbox;
    ot_memory_break(s, true);
}

static void mend(void *outbox)
{
    (void)outbox;
}

int main(void)
{
    static const struct adapter adapter = {
        .name = "memory",
        .caps = OT_STORE_GAPS,
        .make = make,
        .drop = drop,
        .conf = conf_of,
        .open = open_on,
        .begin = begin,
        .enqueue = enqueue,
        .commit = commit,
        .rollback = rollback,
        .command = command,
        .report = report,
        .error = error_of,
        .cut = cut,
        .mend = mend,
    };

    return conformance_run(&adapter);
}
