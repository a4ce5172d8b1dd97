/* write.c - the lease, and what is written under its fence. */
#include "base/crash.h"
#include "store/sqlite/relay.h"

/* Binds ?1 subscription, ?2 owner, ?3 fence. */
static sqlite3_stmt *fenced(struct relay *r, enum ot_sql which, int64_t fence,
                            struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, which, err);

    if (s != NULL) {
        ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
        ot_sqlite_bind_text(&r->db, s, 2, r->owner);
        r->db.f.bind_int64(s, 3, fence);
    }
    return s;
}

/* Ends the transaction one way or the other. */
static int finish(struct relay *r, int code, bool changed,
                  struct outtray_error *err)
{
    if (code == 0 && changed)
        code = ot_sqlite_commit(&r->db, err);
    if (code != 0 || !changed)
        ot_sqlite_rollback(&r->db);
    else
        r->flushed = r->seen;
    return code;
}

/* In the transaction of what it reports on. An outbox of schema 1 has no place
 * for it. */
static int report(struct relay *r, const char *text, int64_t fence,
                  struct outtray_error *err)
{
    sqlite3_stmt *s;

    if (text == NULL || r->db.schema < 2)
        return 0;
    s = fenced(r, OT_SQL_REPORT, fence, err);
    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(&r->db, s, 4, text);
    r->db.f.bind_int64(s, 5, r->wall_us());
    return ot_sqlite_run(&r->db, s, err);
}

/* --- lease --------------------------------------------------------------- */

struct holder {
    bool there; /* the subscription has its row */
    char owner[37];
    int64_t fence;
    int64_t expires_us;
};

static int look_lease(struct relay *r, struct holder *out,
                      struct outtray_error *err)
{
    sqlite3_stmt *s = fenced(r, OT_SQL_LEASE_LOOK, 0, err);
    struct ot_slice owner;
    int code;

    memset(out, 0, sizeof(*out));
    if (s == NULL)
        return err->code;
    code = ot_sqlite_step(&r->db, s, err);
    if (code != 1)
        return code;
    out->there = true;
    owner = ot_sqlite_column(&r->db, s, 0);
    if (owner.p != NULL && owner.n < sizeof(out->owner))
        memcpy(out->owner, owner.p, owner.n);
    out->fence = r->db.f.column_int64(s, 1);
    out->expires_us = r->db.f.column_int64(s, 2);
    r->db.f.reset(s);
    return 0;
}

static int fail_deleted(struct relay *r, struct outtray_error *err)
{
    return ot_fail(err, OUTTRAY_E_STORE_CONDITION,
                   "%s: the cursor of subscription %s was deleted, and a new "
                   "one would skip or repeat events; INSERT INTO %s_cursor "
                   "(subscription, position, created_at) VALUES ('%s', 0, "
                   "strftime('%%s', 'now') * 1000000) sends all that the log "
                   "has again, a higher position leaves out what is below it",
                   r->db.path, r->subscription, r->db.outbox, r->subscription);
}

/* Did the subscription have a row before? */
static int check_first(struct relay *r, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_LEASE_KNOWN, err);
    int64_t known;
    int code;

    if (s != NULL)
        ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    code = ot_sqlite_number(&r->db, s, &known, err);
    return code == 0 && known != 0 ? fail_deleted(r, err) : code;
}

static int mark(struct relay *r, struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_LEASE_MARK, err);

    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    return ot_sqlite_run(&r->db, s, err);
}

/* The first relay of a subscription makes its row. */
static int first_row(struct relay *r, int64_t now, struct outtray_error *err)
{
    int64_t position = 0;
    sqlite3_stmt *s;
    int code = check_first(r, err);

    if (code == 0 && r->start_now)
        code = ot_sqlite_number(&r->db,
                                ot_sqlite_stmt(&r->db, OT_SQL_LAST_SEQ, err),
                                &position, err);
    if (code != 0)
        return code;
    s = ot_sqlite_stmt(&r->db, OT_SQL_LEASE_FIRST, err);
    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
    r->db.f.bind_int64(s, 2, position);
    r->db.f.bind_int64(s, 3, now);
    return ot_sqlite_run(&r->db, s, err);
}

/* Leases end by the wall clock, the only one that processes share, and it may
 * be set back: by hand, or at each start of a machine that has none of its own.
 * Then the lease of a relay that died would last for years. A living one
 * renews it three times within its ttl; so one that stays as it is for four of
 * ours is nobody's. (The fence protects what is written in any case.) */
static bool abandoned(struct relay *r, const struct holder *h)
{
    int64_t now = ot_now_us();

    if (strcmp(r->other.owner, h->owner) == 0 && r->other.fence == h->fence &&
        r->other.expires_us == h->expires_us)
        return now - r->other.since_us > 4 * r->lease.ttl_us;
    memcpy(r->other.owner, h->owner, sizeof(r->other.owner));
    r->other.fence = h->fence;
    r->other.expires_us = h->expires_us;
    r->other.since_us = now;
    return false;
}

static int take(struct relay *r, struct ot_lease_reply *out, bool *changed,
                struct outtray_error *err)
{
    int64_t now = r->wall_us();
    struct holder h;
    sqlite3_stmt *s;
    int code = look_lease(r, &h, err);

    if (code == 0 && !h.there)
        code = first_row(r, now, err);
    if (code != 0)
        return code;
    if (h.owner[0] != '\0' && h.expires_us > now &&
        strcmp(h.owner, r->owner) != 0 && !abandoned(r, &h)) {
        out->free_in_us = h.expires_us - now;
        memcpy(out->owner, h.owner, sizeof(out->owner));
        return 0;
    }
    if (h.fence < r->lease.fence)
        h.fence = r->lease.fence;
    s = fenced(r, OT_SQL_LEASE_TAKE, h.fence + 1, err);
    if (s == NULL)
        return err->code;
    r->db.f.bind_int64(s, 4, now + r->lease.ttl_us);
    ot_sqlite_bind_text(&r->db, s, 5, r->topics);
    code = ot_sqlite_run(&r->db, s, err);
    if (code == 0)
        code = mark(r, err);
    *changed = code == 0;
    out->granted = code == 0;
    out->fence = h.fence + 1;
    return code;
}

/* An expired lease is not revived: somebody may have seen it expired. */
static int renew(struct relay *r, struct ot_lease_reply *out, bool *changed,
                 struct outtray_error *err)
{
    int64_t now = r->wall_us();
    sqlite3_stmt *s = fenced(r, OT_SQL_LEASE_RENEW, r->lease.fence, err);
    struct holder h;
    int code;

    if (s == NULL)
        return err->code;
    r->db.f.bind_int64(s, 4, now + r->lease.ttl_us);
    r->db.f.bind_int64(s, 5, now);
    code = ot_sqlite_run(&r->db, s, err);
    if (code != 0)
        return code;
    if (r->db.f.changes(r->db.c) > 0) {
        *changed = true;
        out->granted = true;
        out->fence = r->lease.fence;
        return 0;
    }
    code = look_lease(r, &h, err);
    if (code == 0 && h.owner[0] != '\0' && strcmp(h.owner, r->owner) != 0) {
        memcpy(out->owner, h.owner, sizeof(out->owner));
        out->free_in_us = h.expires_us > now ? h.expires_us - now : 0;
    }
    return code;
}

int sqlite_lease(struct relay *r, struct ot_reply *reply)
{
    struct ot_lease_reply *out = &reply->lease;
    bool changed = false;
    int code = ot_sqlite_begin_write(&r->db, &reply->err);

    if (code != 0)
        return code;
    code = r->lease.take ? take(r, out, &changed, &reply->err)
                         : renew(r, out, &changed, &reply->err);
    if (code == 0 && changed)
        code = report(r, r->lease.report, out->fence, &reply->err);
    code = finish(r, code, changed, &reply->err);
    if (code != 0)
        memset(out, 0, sizeof(*out));
    return code;
}

int sqlite_release(struct relay *r, struct ot_reply *reply)
{
    sqlite3_stmt *s;
    int code = ot_sqlite_begin_write(&r->db, &reply->err);

    if (code != 0)
        return code;
    s = fenced(r, OT_SQL_LEASE_RELEASE, r->release_fence, &reply->err);
    code = s != NULL ? ot_sqlite_run(&r->db, s, &reply->err) : reply->err.code;
    return finish(r, code, code == 0 && r->db.f.changes(r->db.c) > 0,
                  &reply->err);
}

/* --- the cursor ---------------------------------------------------------- */

/* Subscription and one number. */
static int each_int(struct relay *r, enum ot_sql which, const int64_t *values,
                    size_t n, struct outtray_error *err)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < n; i++) {
        sqlite3_stmt *s = ot_sqlite_stmt(&r->db, which, err);

        if (s == NULL)
            return err->code;
        ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
        r->db.f.bind_int64(s, 2, values[i]);
        code = ot_sqlite_run(&r->db, s, err);
    }
    return code;
}

static int put_gaps(struct relay *r, struct outtray_error *err)
{
    int code = 0;

    for (size_t i = 0; code == 0 && i < r->write.ngaps_put; i++) {
        sqlite3_stmt *s = ot_sqlite_stmt(&r->db, OT_SQL_GAP_PUT, err);

        if (s == NULL)
            return err->code;
        ot_sqlite_bind_text(&r->db, s, 1, r->subscription);
        r->db.f.bind_int64(s, 2, r->write.gaps_put[i].first);
        r->db.f.bind_int64(s, 3, r->write.gaps_put[i].last);
        code = ot_sqlite_run(&r->db, s, err);
    }
    return code;
}

static int put_held(struct relay *r, const struct ot_held *h,
                    struct outtray_error *err)
{
    struct ot_sqlite_db *db = &r->db;
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_HELD_PUT, err);

    if (s == NULL)
        return err->code;
    ot_sqlite_bind_text(db, s, 1, r->subscription);
    db->f.bind_int64(s, 2, h->seq);
    ot_sqlite_bind_text(db, s, 3, ot_held_state_name(h->state));
    db->f.bind_int64(s, 4, h->holds_key);
    db->f.bind_int64(s, 5, h->attempts);
    ot_sqlite_bind_time(db, s, 6, h->next_us);
    ot_sqlite_bind_time(db, s, 7, h->first_error_us);
    ot_sqlite_bind_time(db, s, 8, h->last_error_us);
    db->f.bind_int64(s, 9, h->retried_us);
    db->f.bind_int64(s, 10, h->error_code);
    ot_sqlite_bind_text(db, s, 11, h->error);
    db->f.bind_int64(s, 12, h->maybe_duplicate);
    return ot_sqlite_run(db, s, err);
}

static int put_all(struct relay *r, struct outtray_error *err)
{
    const struct ot_write_request *w = &r->write;
    int code = each_int(r, OT_SQL_GAP_DEL, w->gaps_del, w->ngaps_del, err);

    if (code == 0)
        code = put_gaps(r, err);
    if (code == 0)
        code = each_int(r, OT_SQL_HELD_DEL, w->held_del, w->nheld_del, err);
    for (size_t i = 0; code == 0 && i < w->nheld_put; i++)
        code = put_held(r, &w->held_put[i], err);
    if (code == 0)
        code = each_int(r, OT_SQL_COMMAND_DEL, w->commands_done,
                        w->ncommands_done, err);
    return code;
}

/* [INV-4]: the cursor row is written first; if owner or fence are stale, it is
 * not, and nothing else is. */
static int move(struct relay *r, bool *refused, struct outtray_error *err)
{
    sqlite3_stmt *s = fenced(r, OT_SQL_MOVE, r->write.fence, err);
    int code;

    if (s == NULL)
        return err->code;
    r->db.f.bind_int64(s, 4, r->write.position);
    r->db.f.bind_int64(s, 5, r->wall_us());
    if (r->write.set_paused < 0)
        r->db.f.bind_null(s, 6);
    else
        r->db.f.bind_int64(s, 6, r->write.set_paused != 0);
    code = ot_sqlite_run(&r->db, s, err);
    *refused = code == 0 && r->db.f.changes(r->db.c) == 0;
    return code;
}

int sqlite_write(struct relay *r, struct ot_reply *reply)
{
    struct ot_write_reply *out = &reply->write;
    bool refused = false;
    int code;

    out->number = r->write.number;
    if (!ot_incarnation_allows(&r->write.incarnation, &r->incarnation)) {
        out->fate = OT_REFUSED; /* another file: what was read is not in it */
        return 0;
    }
    out->fate = OT_FATE_UNKNOWN;
    code = ot_sqlite_begin_write(&r->db, &reply->err);
    if (code != 0)
        return code;
    code = move(r, &refused, &reply->err);
    ot_crash_point("sqlite.moved");
    if (code == 0 && !refused)
        code = put_all(r, &reply->err);
    if (code == 0 && !refused)
        code = report(r, r->write.report, r->write.fence, &reply->err);
    code = finish(r, code, !refused, &reply->err);
    if (code != 0)
        return code;
    out->fate = refused ? OT_REFUSED : OT_WRITTEN;
    if (!refused && r->write.durable)
        out->flush_lsn = r->flushed;
    /* Our own commits do not move data_version. */
    if (!refused && r->write.ncommands_done > 0)
        r->known.valid = false;
    return 0;
}
