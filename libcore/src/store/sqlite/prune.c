/* prune.c - retention, in batches that walk up the log. */
#include "store/sqlite/prune.h"

#include "base/crash.h"

#define AGAIN_US 60000000 /* a held event that was settled lies below */

/* Looks at the next rows: *upto is the last one to decide about, *more whether
 * the limit was reached. A young row ends the walk: what follows is younger.
 * One from the future, whose time somebody made up, says nothing of that. */
static int look(struct ot_sqlite_db *db, const struct ot_prune_request *req,
                int64_t low, int64_t *upto, bool *more,
                struct outtray_error *err)
{
    sqlite3_stmt *s = ot_sqlite_stmt(db, OT_SQL_PRUNE_LOOK, err);
    uint32_t n = 0;
    int64_t before_young = 0; /* the row before the first young one */
    int64_t now = ot_wall_us();
    bool young = false;
    int code;

    if (s == NULL)
        return err->code;
    db->f.bind_int64(s, 1, low);
    db->f.bind_int64(s, 2, req->limit);
    *upto = low;
    while ((code = ot_sqlite_step(db, s, err)) == 1) {
        int64_t created = db->f.column_int64(s, 1);

        if (!young && created >= req->older_than_us && created <= now) {
            young = true;
            before_young = *upto;
        }
        *upto = db->f.column_int64(s, 0);
        n++;
    }
    *more = n == req->limit && !young;
    if (young)
        *upto = before_young;
    return code;
}

static int one_batch(struct ot_sqlite_db *db,
                     const struct ot_prune_request *req, bool dry_run,
                     int64_t low, int64_t upto, struct ot_prune_reply *out,
                     struct outtray_error *err)
{
    sqlite3_stmt *s =
        ot_sqlite_stmt(db, dry_run ? OT_SQL_PRUNE_COUNT : OT_SQL_PRUNE, err);
    int code;

    if (s == NULL)
        return err->code;
    db->f.bind_int64(s, 1, low);
    db->f.bind_int64(s, 2, upto);
    db->f.bind_int64(s, 3, req->older_than_us);
    code = ot_sqlite_step(db, s, err);
    if (code < 0)
        return code;
    out->deleted =
        (uint32_t)(dry_run ? db->f.column_int64(s, 0) : db->f.changes(db->c));
    db->f.reset(s);
    return 0;
}

int ot_sqlite_prune(struct ot_sqlite_db *db, const struct ot_prune_request *req,
                    bool dry_run, struct ot_sqlite_low *low,
                    struct ot_prune_reply *out, struct outtray_error *err)
{
    int64_t now = ot_now_us();
    int64_t from = low->seq, upto = 0;
    bool more = false;
    int code;

    memset(out, 0, sizeof(*out));
    if (now >= low->next_us) {
        from = 0;
        low->next_us = now + AGAIN_US;
    }
    /* Looking costs no write lock; an idle outbox is not written to. What was
     * found is checked again by the DELETE, in its own snapshot. */
    code = look(db, req, from, &upto, &more, err);
    if (code != 0)
        return code;
    if (upto > from) {
        code = dry_run ? 0 : ot_sqlite_begin_write(db, err);
        if (code == 0)
            code = one_batch(db, req, dry_run, from, upto, out, err);
        ot_crash_point("sqlite.pruned");
        if (code == 0 && !dry_run)
            code = ot_sqlite_commit(db, err);
        if (code != 0) {
            ot_sqlite_rollback(db);
            memset(out, 0, sizeof(*out));
            return code;
        }
    }
    /* A count that is complete leaves everything to the deletion. */
    low->seq = dry_run && !more ? 0 : upto;
    out->more = more;
    return 0;
}
