/* events.c - events, with what became of them. */
#include "store/sqlite/admin.h"

#define AROUND_US 600000000 /* an id may be this much off its row's time */

/* --- by id ---------------------------------------------------------------- */

/* The first row at or after seq; *seq is 0 if there is none. */
static int from_seq(struct ot_sqlite_db *db, int64_t *seq, int64_t *created,
                    struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_SEQ_FROM, err);
    int code;

    if (s == NULL)
        return err->code;
    db->f.bind_int64(s, 1, *seq);
    code = ot_sqlite_step(db, s, err);
    *seq = code == 1 ? db->f.column_int64(s, 0) : 0;
    *created = code == 1 ? db->f.column_int64(s, 1) : 0;
    db->f.reset(s);
    return code < 0 ? code : 0;
}

/* The lowest seq whose row was written at or after that time, by halving:
 * times grow with seqs, but for a clock that was set. */
static int seq_at(struct ot_sqlite_db *db, int64_t time_us, int64_t last,
                  int64_t *out, struct outtray_error *err)
{
    int64_t low = 1, high = last + 1;
    int code = 0;

    while (code == 0 && low < high) {
        int64_t middle = low + (high - low) / 2, seq = middle, created = 0;

        code = from_seq(db, &seq, &created, err);
        if (seq == 0 || seq >= high || created >= time_us)
            high = middle;
        else
            low = seq + 1;
    }
    *out = low;
    return code;
}

/* Where the event with this id must be, if its id tells the time. */
static int range_of(struct ot_sqlite_db *db, const char *id, int64_t *first,
                    int64_t *last, struct outtray_error *err)
{
    struct ot_uuid uuid;
    int64_t time_us = -1, unique = 0, end = 0;
    int code = ot_sqlite_number(db, ot_sqlite_stmt(db, OT_SQL_HAS_UNIQUE, err),
                                &unique, err);

    *first = 0;
    *last = INT64_MAX;
    if (ot_uuid_parse(ot_slice_of(id), &uuid))
        time_us = ot_uuid_time_us(uuid);
    if (code != 0 || unique > 0 || time_us < 0)
        return code;
    code = ot_sqlite_number(db, ot_sqlite_stmt(db, OT_SQL_LAST_SEQ, err), &end,
                            err);
    if (code == 0)
        code = seq_at(db, time_us - AROUND_US, end, first, err);
    if (code == 0)
        code = seq_at(db, time_us + AROUND_US, end, last, err);
    return code;
}

/* --- the statement -------------------------------------------------------- */

enum { SUBSCRIPTION = 1, FIRST, LAST, ID, KEY, TOPIC, STATE, LIMIT };

static void compose(const struct ot_event_query *q, struct ot_buffer *b)
{
    bool tail = q->after_seq < 0;

    if (tail)
        ot_buffer_puts(b, "SELECT * FROM (");
    ot_buffer_puts(
        b, "SELECT e.seq AS seq, e.id, e.topic, e.key, e.type, e.created_at, "
           "e.deliver_at, e.headers, CASE typeof(e.payload) WHEN 'blob' "
           "THEN length(e.payload) ELSE length(CAST(e.payload AS BLOB)) END, "
           "h.state, h.holds_key, h.attempts, h.next_attempt_at, "
           "h.first_error_at, h.last_error_at, h.retried_us, h.error_code, "
           "h.error, e.seq > coalesce((SELECT position FROM {{outbox}}_cursor "
           "WHERE subscription = ?1), 0), EXISTS (SELECT 1 FROM {{outbox}}_gap "
           "g WHERE g.subscription = ?1 AND e.seq BETWEEN g.first AND g.last)");
    ot_buffer_puts(b, q->with_payload ? ", e.payload " : ", NULL ");
    /* A CROSS JOIN keeps its order: held events are few, the log is not. */
    ot_buffer_puts(b, q->held_only
                          ? "FROM {{outbox}}_held h CROSS JOIN "
                            "{{outbox}}_event e ON e.seq = h.seq "
                            "WHERE h.subscription = ?1 AND h.seq > ?2 AND "
                            "h.seq <= ?3"
                          : "FROM {{outbox}}_event e LEFT JOIN "
                            "{{outbox}}_held h ON h.subscription = ?1 AND "
                            "h.seq = e.seq WHERE e.seq > ?2 AND e.seq <= ?3");
    if (q->id != NULL)
        ot_buffer_puts(b, " AND e.id = ?4");
    if (q->key != NULL)
        ot_buffer_puts(b, " AND e.key = ?5");
    if (q->topic != NULL)
        ot_buffer_puts(b, " AND e.topic = ?6");
    if (q->held_state >= 0)
        ot_buffer_puts(b, " AND h.state = ?7");
    ot_buffer_puts(b, tail ? " ORDER BY e.seq DESC LIMIT ?8) ORDER BY seq"
                           : " ORDER BY e.seq LIMIT ?8");
}

static int prepare(struct ot_sqlite_db *db, const struct ot_event_query *q,
                   sqlite3_stmt **out, struct outtray_error *err)
{
    struct ot_buffer raw = {0}, sql = {0};
    int rc = SQLITE_NOMEM, code = 0;

    *out = NULL;
    compose(q, &raw);
    if (!raw.failed)
        ot_sqlite_expand(db, raw.p, &sql);
    if (!raw.failed && !sql.failed)
        rc = db->f.prepare_v2(db->c, sql.p, -1, out, NULL);
    if (rc != SQLITE_OK)
        code = ot_sqlite_fail(db, rc, "looking up events", err);
    ot_buffer_free(&raw);
    ot_buffer_free(&sql);
    return code;
}

static void bind(struct ot_sqlite_db *db, sqlite3_stmt *s,
                 const struct ot_event_query *q, int64_t first, int64_t last)
{
    int64_t limit = q->limit > 0 ? (int64_t)q->limit : -1;

    if (q->after_seq < 0 && (limit < 0 || -q->after_seq < limit))
        limit = -q->after_seq;
    ot_sqlite_bind_text(db, s, SUBSCRIPTION, q->subscription);
    db->f.bind_int64(s, FIRST, first);
    db->f.bind_int64(s, LAST, last);
    /* A parameter that the text does not use is bound all the same. */
    ot_sqlite_bind_text(db, s, ID, q->id);
    ot_sqlite_bind_text(db, s, KEY, q->key);
    ot_sqlite_bind_text(db, s, TOPIC, q->topic);
    if (q->held_state >= 0)
        ot_sqlite_bind_text(
            db, s, STATE,
            ot_held_state_name((enum ot_held_state)q->held_state));
    db->f.bind_int64(s, LIMIT, limit);
}

/* --- rows ----------------------------------------------------------------- */

static int info_of(struct ot_sqlite_db *db, sqlite3_stmt *s,
                   struct ot_event_info *info, struct outtray_error *err)
{
    struct ot_event *e = &info->event;
    struct ot_held *h = &info->held;

    memset(info, 0, sizeof(*info));
    e->seq = db->f.column_int64(s, 0);
    if (!ot_uuid_parse(ot_sqlite_column(db, s, 1), &e->id))
        return ot_fail(err, OUTTRAY_E_STORE,
                       "%s: the event with seq %lld of %s_event has an id that "
                       "is no UUID: correct it there",
                       db->path, (long long)e->seq, db->outbox);
    e->topic = ot_sqlite_column(db, s, 2);
    e->key = ot_sqlite_column(db, s, 3);
    e->type = ot_sqlite_column(db, s, 4);
    e->created_us = db->f.column_int64(s, 5);
    e->deliver_us = db->f.column_int64(s, 6);
    e->headers = ot_sqlite_column(db, s, 7);
    info->payload_bytes = (size_t)db->f.column_int64(s, 8);
    e->payload = ot_sqlite_column(db, s, 20);
    info->in_gap = db->f.column_int64(s, 19) != 0;
    info->fate = db->f.column_int64(s, 18) != 0 || info->in_gap
                     ? OT_FATE_PENDING
                     : OT_FATE_DELIVERED;
    if (db->f.column_type(s, 9) == SQLITE_NULL)
        return 0;
    info->fate = OT_FATE_HELD;
    if (ot_held_state_parse(ot_sqlite_column(db, s, 9), &h->state) != 0)
        return ot_fail(err, OUTTRAY_E_STORE_VERSION,
                       "%s: %s_held has a state that this program does not "
                       "know: install a newer outtray",
                       db->path, db->outbox);
    h->seq = e->seq;
    h->key = e->key.p != NULL ? ot_hash(e->key) : 0;
    h->topic = ot_hash(e->topic);
    h->holds_key = db->f.column_int64(s, 10) != 0;
    h->attempts = (uint32_t)db->f.column_int64(s, 11);
    h->next_us = db->f.column_int64(s, 12);
    h->first_error_us = db->f.column_int64(s, 13);
    h->last_error_us = db->f.column_int64(s, 14);
    h->retried_us = db->f.column_int64(s, 15);
    h->error_code = (int32_t)db->f.column_int64(s, 16);
    info->error = ot_sqlite_column(db, s, 17).p; /* ends with a NUL */
    h->error = info->error;
    return 0;
}

static int list(struct ot_sqlite_db *db, const struct ot_event_query *q,
                int64_t first, int64_t last, ot_event_fn *each, void *ctx,
                size_t *found, struct outtray_error *err)
{
    sqlite3_stmt *s;
    int code = prepare(db, q, &s, err);

    *found = 0;
    if (code != 0)
        return code;
    bind(db, s, q, first, last);
    while ((code = ot_sqlite_step(db, s, err)) == 1) {
        struct ot_event_info info;

        ++*found;
        code = info_of(db, s, &info, err);
        if (code == 0)
            code = each(ctx, &info);
        if (code != 0)
            break;
    }
    db->f.finalize(s);
    return code;
}

int sqlite_admin_events(struct ot_admin *x, const struct ot_event_query *q,
                        ot_event_fn *each, void *ctx, struct outtray_error *err)
{
    struct admin *a = admin_of(x);
    int64_t after = q->after_seq > 0 ? q->after_seq : 0;
    int64_t first = 0, last = INT64_MAX;
    size_t found;
    int code = sqlite_admin_ready(a, err);

    if (code == 0 && q->id != NULL)
        code = range_of(&a->db, q->id, &first, &last, err);
    if (code != 0)
        return code;
    first = first > 0 ? first - 1 : 0;
    code = list(&a->db, q, first > after ? first : after, last, each, ctx,
                &found, err);
    /* Given by the caller, or made by a clock that was wrong. */
    if (code == 0 && found == 0 && (first > 0 || last < INT64_MAX))
        code = list(&a->db, q, after, INT64_MAX, each, ctx, &found, err);
    return code;
}
