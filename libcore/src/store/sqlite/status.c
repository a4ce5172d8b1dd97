/* status.c - how each subscription is going. */
#include "store/sqlite/admin.h"

#define COUNTED 10000 /* more are estimated */

/* ?1 subscription, ?2 position; one number. */
static int count(struct ot_sqlite_db *db, enum ot_sql which,
                 const struct ot_status *st, int64_t *out,
                 struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, which, err);

    if (s != NULL && which != OT_SQL_STATUS_PENDING && which != OT_SQL_LAST_SEQ)
        ot_sqlite_bind_text(db, s, 1, st->subscription);
    if (s != NULL &&
        (which == OT_SQL_STATUS_PENDING || which == OT_SQL_STATUS_OLDEST))
        db->f.bind_int64(s, 2, st->position);
    return ot_sqlite_number(db, s, out, err);
}

static int count_held(struct ot_sqlite_db *db, struct ot_status *st,
                      int64_t *above, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_STATUS_HELD, err);
    int code;

    *above = 0;
    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(db, s, 1, st->subscription);
    db->f.bind_int64(s, 2, st->position);
    while ((code = ot_sqlite_step(db, s, err)) == 1) {
        enum ot_held_state state;

        if (ot_held_state_parse(ot_sqlite_column(db, s, 0), &state) == 0 &&
            state < OT_HELD_COUNTED)
            st->held[state] = db->f.column_int64(s, 1);
        *above += db->f.column_int64(s, 2);
    }
    return code;
}

static void copy(char *out, size_t size, struct ot_slice s)
{
    size_t n = s.n < size - 1 ? s.n : size - 1;

    if (n > 0)
        memcpy(out, s.p, n);
    out[n] = '\0';
}

/* An outbox of schema 1 has none. */
static int read_report(struct ot_sqlite_db *db, struct ot_status *st,
                       int64_t now, struct outtray_error *err)
{
    sqlite3_stmt *s;
    int code;

    if (db->schema < 2)
        return 0;
    s = ot_sqlite_stmt(db, OT_SQL_STATUS_REPORT, err);
    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(db, s, 1, st->subscription);
    code = ot_sqlite_step(db, s, err);
    if (code == 1) {
        copy(st->report, sizeof(st->report), ot_sqlite_column(db, s, 0));
        st->report_age_us = now - db->f.column_int64(s, 1);
    }
    db->f.reset(s);
    return code < 0 ? code : 0;
}

static int fill(struct ot_sqlite_db *db, struct ot_status *st, int64_t now,
                struct outtray_error *err)
{
    int64_t n = 0, above = 0, oldest = 0;
    int code = count(db, OT_SQL_LAST_SEQ, st, &st->last_seq, err);

    if (code == 0)
        code = count_held(db, st, &above, err);
    if (code == 0)
        code = count(db, OT_SQL_STATUS_PENDING, st, &n, err);
    if (code == 0)
        code = count(db, OT_SQL_STATUS_OLDEST, st, &oldest, err);
    if (code == 0)
        code = count(db, OT_SQL_STATUS_GAPS, st, &st->gaps, err);
    if (code == 0)
        code = count(db, OT_SQL_STATUS_COMMANDS, st, &st->commands, err);
    if (code == 0)
        code = read_report(db, st, now, err);
    if (code != 0)
        return code;
    st->pending_is_estimate = n > COUNTED;
    st->pending = n - above;
    if (st->pending_is_estimate && st->last_seq - st->position > n)
        st->pending = st->last_seq - st->position;
    if (st->pending < 0)
        st->pending = 0;
    st->oldest_age_us = oldest < 0 ? -1 : now > oldest ? now - oldest : 0;
    return 0;
}

/* The rows first: filling one runs statements of its own. */
static int list(struct ot_sqlite_db *db, const char *subscription, int64_t now,
                struct ot_buffer *out, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_STATUS, err);
    int code;

    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(db, s, 1, subscription);
    while ((code = ot_sqlite_step(db, s, err)) == 1) {
        struct ot_status st;

        memset(&st, 0, sizeof(st));
        copy(st.subscription, sizeof(st.subscription),
             ot_sqlite_column(db, s, 0));
        st.position = db->f.column_int64(s, 1);
        st.paused = db->f.column_int64(s, 2) != 0;
        copy(st.owner, sizeof(st.owner), ot_sqlite_column(db, s, 3));
        st.fence = db->f.column_int64(s, 4);
        st.lease_left_us =
            st.owner[0] != '\0' ? db->f.column_int64(s, 5) - now : 0;
        st.written_age_us = db->f.column_type(s, 6) == SQLITE_NULL
                                ? -1
                                : now - db->f.column_int64(s, 6);
        copy(st.topics, sizeof(st.topics), ot_sqlite_column(db, s, 7));
        ot_buffer_add(out, &st, sizeof(st));
    }
    return out->failed ? ot_fail_nomem(err) : code;
}

int sqlite_admin_status(struct ot_admin *x, const char *subscription,
                        ot_status_fn *each, void *ctx,
                        struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    struct ot_buffer rows = {0};
    struct ot_status *st;
    size_t n;
    int64_t now = ot_wall_us();
    int code = sqlite_admin_ready(a, err);

    if (code == 0)
        code = ot_sqlite_begin_read(&a->db, err);
    if (code != 0)
        return code;
    code = list(&a->db, subscription, now, &rows, err);
    st = (void *)rows.p;
    n = rows.n / sizeof(*st);
    for (size_t i = 0; code == 0 && i < n; i++)
        code = fill(&a->db, &st[i], now, err);
    ot_sqlite_rollback(&a->db);
    if (code == 0 && n == 0)
        code = ot_fail(err, OUTTRAY_E_NOT_FOUND,
                       "%s: there is no subscription \"%s\": its first relay "
                       "makes it",
                       a->db.path, subscription);
    for (size_t i = 0; code == 0 && i < n; i++)
        code = each(ctx, &st[i]);
    ot_buffer_free(&rows);
    return code;
}
