/* read.c - what the relay reads: events, the cursor, commands. */
#include "store/sqlite/relay.h"

/* --- rows ---------------------------------------------------------------- */

/* The columns of OT_SQL_READ and OT_SQL_FETCH. Borrowed until the next step.
 * The payload comes last: a filtered or unwanted one is not read at all. */
static int event_of(struct relay *r, sqlite3_stmt *s, bool filter,
                    struct ot_event *e, struct outtray_error *err)
{
    struct ot_sqlite_db *db = &r->db;

    memset(e, 0, sizeof(*e));
    e->seq = db->f.column_int64(s, 0);
    e->topic = ot_sqlite_column(db, s, 2);
    e->created_us = db->f.column_int64(s, 5);
    if (filter && !ot_filter_match(&r->filter, e->topic)) {
        e->filtered = true;
        return 0;
    }
    if (!ot_uuid_parse(ot_sqlite_column(db, s, 1), &e->id))
        return ot_fail(err, OUTTRAY_E_STORE,
                       "%s: the event with seq %lld of %s_event has an id that "
                       "is no UUID: correct it there",
                       db->path, (long long)e->seq, db->outbox);
    e->key = ot_sqlite_column(db, s, 3);
    e->type = ot_sqlite_column(db, s, 4);
    e->deliver_us = db->f.column_int64(s, 6);
    e->headers = ot_sqlite_column(db, s, 7);
    e->payload = ot_sqlite_column(db, s, 8);
    return 0;
}

static int add(struct relay *r, const struct ot_event *e, size_t budget,
               bool *cut, struct outtray_error *err)
{
    return ot_rows_add(&r->rows, e, budget, cut) == 0 ? 0 : ot_fail_nomem(err);
}

/* How far one read has come. */
struct progress {
    int64_t last; /* seq of the last row */
    bool cut;
};

/* Adds the rows of one range until the limit or the budget cut it. The row
 * after the last is stepped to, but not read, so that cut is exact. */
static int add_range(struct relay *r, int64_t first, int64_t last,
                     struct progress *p, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_READ, err);
    int code;

    if (s == NULL)
        return err->code;
    r->db.f.bind_int64(s, 1, first);
    r->db.f.bind_int64(s, 2, last);
    while ((code = ot_sqlite_step(&r->db, s, err)) == 1) {
        struct ot_event e;

        if (r->rows.n >= r->read.limit) {
            p->cut = true;
            break;
        }
        code = event_of(r, s, true, &e, err);
        if (code == 0)
            code = add(r, &e, r->read.budget, &p->cut, err);
        if (code != 0 || p->cut)
            break;
        p->last = e.seq;
    }
    r->db.f.reset(s);
    return code < 0 ? code : 0;
}

/* --- one number ---------------------------------------------------------- */

static int number(struct relay *r, enum ot_sql which, int64_t *out,
                  struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, which, err);

    if (s != NULL && which == OT_SQL_HAS_COMMANDS)
        ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    return ot_sqlite_number(&r->db, s, out, err);
}

/* --- read ---------------------------------------------------------------- */

/* Nobody has committed since the last read that covered everything, and that
 * read went as far as this one starts: there is nothing. Costs microseconds. */
static int nothing_new(struct relay *r, bool *out, struct outtray_error *err)
{
    int64_t version = 0;
    int code = 0;

    *out = false;
    if (!r->known.valid || r->read.ngaps > 0 ||
        r->read.position < r->known.upto)
        return 0;
    code = number(r, OT_SQL_DATA_VERSION, &version, err);
    *out = code == 0 && version == r->known.data_version;
    return code;
}

/* In one read transaction, hence one snapshot: the gaps, which all lie below,
 * then the tail. */
static int read_snapshot(struct relay *r, struct progress *p,
                         struct outtray_error *err)
{
    const struct ot_read_request *q = &r->read;
    int64_t last_seq = 0, has = 0, version = 0;
    int code = 0;

    for (size_t i = 0; code == 0 && !p->cut && i < q->ngaps; i++)
        code = add_range(r, q->gaps[i].first, q->gaps[i].last, p, err);
    if (code == 0 && !p->cut)
        code = add_range(r, q->position + 1, INT64_MAX, p, err);
    if (code == 0)
        code = number(r, OT_SQL_LAST_SEQ, &last_seq, err);
    if (code == 0)
        code = number(r, OT_SQL_HAS_COMMANDS, &has, err);
    if (code == 0)
        code = number(r, OT_SQL_DATA_VERSION, &version, err);
    if (code != 0)
        return code;
    if (version != r->known.data_version)
        r->seen++;
    r->known.data_version = version;
    r->known.last_seq = last_seq;
    r->known.has_commands = has != 0;
    r->known.upto = p->last > q->position ? p->last : q->position;
    r->known.valid = !p->cut;
    return 0;
}

int sqlite_read(struct relay *r, struct ot_reply *reply)
{
    struct ot_read_reply *out = &reply->read;
    struct progress p = {0};
    bool nothing;
    int code = nothing_new(r, &nothing, &reply->err);

    if (code != 0)
        return code;
    if (!nothing) {
        r->known.valid = false;
        code = ot_sqlite_begin_read(&r->db, &reply->err);
        if (code == 0)
            code = read_snapshot(r, &p, &reply->err);
        /* Ends before anything is published: an open reader keeps the WAL from
         * being used again. */
        ot_sqlite_rollback(&r->db);
    }
    if (code == 0) {
        out->rows = ot_rows_finish(&r->rows);
        if (out->rows == NULL)
            code = ot_fail_nomem(&reply->err);
    }
    if (code != 0) {
        r->known.valid = false;
        ot_rows_restart(&r->rows);
        return code;
    }
    out->cut = p.cut;
    out->has_locks = r->read.with_locks; /* no writer holds a seq back */
    out->incarnation = r->incarnation;
    out->last_seq = r->known.last_seq;
    out->lsn = r->seen;
    out->flush_lsn = r->flushed;
    out->db_now_us = r->wall_us();
    out->has_commands = r->known.has_commands;
    return 0;
}

/* --- fetch --------------------------------------------------------------- */

static int fetch_one(struct relay *r, int64_t seq, bool *cut,
                     struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_FETCH, err);
    struct ot_event e;
    int code;

    if (s == NULL)
        return err->code;
    r->db.f.bind_int64(s, 1, seq);
    code = ot_sqlite_step(&r->db, s, err);
    if (code != 1)
        return code;
    code = event_of(r, s, false, &e, err);
    if (code == 0)
        code = add(r, &e, r->fetch.budget, cut, err);
    r->db.f.reset(s);
    return code;
}

int sqlite_fetch(struct relay *r, struct ot_reply *reply)
{
    struct ot_fetch_reply *out = &reply->fetch;
    bool cut = false;
    int code = ot_sqlite_begin_read(&r->db, &reply->err);

    while (code == 0 && !cut && out->n < r->fetch.n) {
        code = fetch_one(r, r->fetch.seqs[out->n], &cut, &reply->err);
        out->n += !cut;
    }
    ot_sqlite_rollback(&r->db);
    if (code == 0) {
        out->rows = ot_rows_finish(&r->rows);
        if (out->rows == NULL)
            code = ot_fail_nomem(&reply->err);
    }
    if (code != 0)
        ot_rows_restart(&r->rows);
    return code;
}

/* --- load ---------------------------------------------------------------- */

static int load_row(struct relay *r, struct ot_cursor_reply *out,
                    struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_CURSOR, err);
    int code;

    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    ot_sqlite_bind_text(&r->db, s, 2, r->owner);
    code = ot_sqlite_step(&r->db, s, err);
    if (code == 0)
        return ot_fail(err, OUTTRAY_E_NOT_FOUND,
                       "%s: there is no subscription \"%s\": its first lease "
                       "makes it",
                       r->db.path, r->subscription);
    if (code < 0)
        return code;
    out->position = r->db.f.column_int64(s, 0);
    out->paused = r->db.f.column_int64(s, 1) != 0;
    out->fence = r->db.f.column_int64(s, 2);
    out->lease_left_us = r->db.f.column_int64(s, 3) - r->wall_us();
    r->db.f.reset(s);
    return 0;
}

static int load_gaps(struct relay *r, struct ot_cursor_reply *out,
                     struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_GAPS, err);
    int code;

    if (s == NULL)
        return err->code;
    ot_buffer_clear(&r->gaps);
    ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    while ((code = ot_sqlite_step(&r->db, s, err)) == 1) {
        struct ot_range g = {r->db.f.column_int64(s, 0),
                             r->db.f.column_int64(s, 1)};

        ot_buffer_add(&r->gaps, &g, sizeof(g));
        out->ngaps++;
    }
    out->gaps = (const void *)r->gaps.p;
    return r->gaps.failed ? ot_fail_nomem(err) : code;
}

static int held_of(struct relay *r, sqlite3_stmt *s, struct ot_held *h,
                   struct outtray_error *err)
{
    struct ot_sqlite_db *db = &r->db;
    struct ot_slice key = ot_sqlite_column(db, s, 9);
    struct ot_slice topic;

    memset(h, 0, sizeof(*h));
    h->key = key.p != NULL ? ot_hash(key) : 0;
    topic = ot_sqlite_column(db, s, 10);
    h->topic = topic.p != NULL ? ot_hash(topic) : 0;
    h->seq = db->f.column_int64(s, 0);
    h->holds_key = db->f.column_int64(s, 2) != 0;
    h->attempts = (uint32_t)db->f.column_int64(s, 3);
    h->next_us = db->f.column_int64(s, 4);
    h->first_error_us = db->f.column_int64(s, 5);
    h->last_error_us = db->f.column_int64(s, 6);
    h->retried_us = db->f.column_int64(s, 7);
    h->error_code = (int32_t)db->f.column_int64(s, 8);
    h->maybe_duplicate = db->f.column_int64(s, 11) != 0;
    if (ot_held_state_parse(ot_sqlite_column(db, s, 1), &h->state) != 0)
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "%s: %s_held has a state that this program does not "
                       "know: install a newer outtray",
                       db->path, db->outbox);
    return 0;
}

static int load_held(struct relay *r, struct ot_cursor_reply *out,
                     struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_HELD, err);
    int code;

    if (s == NULL)
        return err->code;
    ot_buffer_clear(&r->held);
    ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    while ((code = ot_sqlite_step(&r->db, s, err)) == 1) {
        struct ot_held h;

        code = held_of(r, s, &h, err);
        if (code != 0)
            break;
        ot_buffer_add(&r->held, &h, sizeof(h));
        out->nheld++;
    }
    r->db.f.reset(s);
    out->held = (const void *)r->held.p;
    return r->held.failed ? ot_fail_nomem(err) : code;
}

int sqlite_load(struct relay *r, struct ot_reply *reply)
{
    struct ot_cursor_reply *out = &reply->cursor;
    int code = ot_sqlite_begin_read(&r->db, &reply->err);

    if (code == 0)
        code = load_row(r, out, &reply->err);
    if (code == 0)
        code = load_gaps(r, out, &reply->err);
    if (code == 0)
        code = load_held(r, out, &reply->err);
    if (code == 0)
        code = number(r, OT_SQL_LAST_SEQ, &out->last_seq, &reply->err);
    ot_sqlite_rollback(&r->db);
    if (code != 0)
        return code;
    out->incarnation = r->incarnation;
    out->flush_lsn = r->flushed;
    out->db_now_us = r->wall_us();
    return 0;
}

/* --- commands ------------------------------------------------------------ */

int sqlite_commands(struct relay *r, struct ot_reply *reply)
{
    struct ot_commands_reply *out = &reply->commands;
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_COMMANDS, &reply->err);
    int code;

    if (s == NULL)
        return reply->err.code;
    ot_buffer_clear(&r->commands);
    ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    while ((code = ot_sqlite_step(&r->db, s, &reply->err)) == 1) {
        struct ot_slice verb = ot_sqlite_column(&r->db, s, 1);
        struct ot_command c = {.id = r->db.f.column_int64(s, 0)};

        if (ot_command_parse(verb, r->db.f.column_int64(s, 2), &c) != 0) {
            code = ot_fail(&reply->err, OUTTRAY_E_STORE_VERSION,
                           "%s: %s_command asks for \"%.*s\", which this "
                           "program does not know: install a newer outtray or "
                           "delete the row",
                           r->db.path, r->db.outbox, (int)verb.n, verb.p);
            break;
        }
        ot_buffer_add(&r->commands, &c, sizeof(c));
        out->n++;
    }
    r->db.f.reset(s);
    out->commands = (const void *)r->commands.p;
    return r->commands.failed ? ot_fail_nomem(&reply->err) : code;
}
