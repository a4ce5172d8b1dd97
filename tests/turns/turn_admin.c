/* turn_admin.c - the application and the operator on connections of the
 * library's own, two writers at most. */
#include "turns.h"

#include "store/admin.h"

static const struct outtray_conf *where;
static const char *session_sql;
static struct ot_admin *writers[2];
static char sessions[2][24];
struct outtray_error turn_error;

void turn_admin_use(const struct outtray_conf *conf, const char *sql)
{
    where = conf;
    session_sql = sql;
}

const char *turn_admin_session(int writer)
{
    return sessions[writer];
}

static void hang_up(int writer)
{
    if (writers[writer] != NULL)
        writers[writer]->ops->close(writers[writer]);
    writers[writer] = NULL;
}

void turn_admin_close(void)
{
    hang_up(0);
    hang_up(1);
}

static int connected(int writer)
{
    struct ot_admin **a = &writers[writer];
    int code;

    if (*a != NULL)
        return 0;
    code = ot_admin_open(a, where, &turn_error);
    if (code == 0 && session_sql != NULL)
        code = (*a)->ops->sql(*a, session_sql, sessions[writer],
                              sizeof(sessions[writer]), &turn_error);
    if (code != 0)
        hang_up(writer);
    return code;
}

int turn_admin_begin(int writer)
{
    int code = connected(writer);

    if (code == 0)
        code = writers[writer]->ops->begin(writers[writer], &turn_error);
    if (code != 0)
        hang_up(writer);
    return code;
}

int turn_admin_put(int writer, const struct ot_event *e)
{
    struct ot_admin *a = writers[writer];
    struct outtray_event event = {
        .topic = {e->topic.p, e->topic.n},
        .key = {e->key.p, e->key.n},
        .payload = {e->payload.p, e->payload.n},
    };
    int code = a->ops->enqueue(a, &event, 1, &turn_error);

    /* As an application does: it takes another connection, for SQLite opens a
     * file for reading alone when it could not be opened otherwise. */
    if (code != 0)
        hang_up(writer);
    return code;
}

static int end(int writer, bool commit)
{
    struct ot_admin *a = writers[writer];
    int code = a->ops->end(a, commit, &turn_error);

    if (code != 0)
        hang_up(writer);
    return code;
}

int turn_admin_commit(int writer)
{
    return end(writer, true);
}

void turn_admin_rollback(int writer)
{
    if (writers[writer] != NULL)
        end(writer, false);
}

int turn_admin_command(enum ot_verb verb, int64_t seq)
{
    int code = connected(0);

    if (code == 0)
        code = writers[0]->ops->command(writers[0], "main", verb, &seq, seq > 0,
                                        &turn_error);
    if (code != 0)
        hang_up(0);
    return code;
}
