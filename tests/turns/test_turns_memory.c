/* test_turns_memory.c - the story on the memory store. */
#include "turns.h"

#include "store/memory/inside.h"

static struct ot_memory *m;
static struct ot_memory_tx *writers[2];
static struct outtray_conf *conf;

static void make(void)
{
    m = ot_memory_new();
    conf = outtray_conf_new();
    assert_true(m != NULL && conf != NULL);
}

static void drop(void)
{
    ot_memory_free(m);
    outtray_conf_free(conf);
}

static int open_store(struct ot_store **out, struct ot_uuid owner,
                      struct outtray_error *err)
{
    return ot_memory_open(m, out, conf, owner, NULL, err);
}

static int begin(int writer)
{
    writers[writer] = ot_memory_begin(m);
    return writers[writer] != NULL ? 0 : OUTTRAY_E_NOMEM;
}

static int put(int writer, const struct ot_event *e)
{
    return ot_memory_enqueue(writers[writer], e) != 0 ? 0 : OUTTRAY_E_NOMEM;
}

static int commit(int writer)
{
    ot_memory_commit(writers[writer]);
    return 0;
}

static void rollback(int writer)
{
    ot_memory_rollback(writers[writer]);
}

static int command(enum ot_verb verb, int64_t seq)
{
    return ot_memory_command(m, "main", verb, seq) != 0 ? 0 : OUTTRAY_E_NOMEM;
}

static int64_t asked(void)
{
    return (int64_t)(m->commands.n / sizeof(struct command_row));
}

static size_t dead(int64_t *seqs, int *numbers, size_t max)
{
    const struct cursor *c = memory_cursor(m, "main");
    const struct held_row *held = (const void *)c->held.p;
    size_t n = 0;

    for (size_t i = 0; i < c->held.n / sizeof(*held) && n < max; i++) {
        if (held[i].held.state != OT_HELD_DEAD)
            continue;
        seqs[n] = held[i].held.seq;
        numbers[n] = turn_number(memory_row(m, seqs[n])->event.payload);
        n++;
    }
    return n;
}

static int64_t left(void)
{
    const struct cursor *c = memory_cursor(m, "main");

    return asked() + (int64_t)(c->gaps.n / sizeof(struct ot_range) +
                               c->held.n / sizeof(struct held_row));
}

static const struct outbox outbox = {
    .name = "memory",
    .most = {5000, 5000, 5000, 5000, 5000},
    .gaps = true,
    .make = make,
    .drop = drop,
    .open = open_store,
    .begin = begin,
    .put = put,
    .commit = commit,
    .rollback = rollback,
    .command = command,
    .asked = asked,
    .dead = dead,
    .left = left,
};

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TURN_TESTS(&outbox),
    };

    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
