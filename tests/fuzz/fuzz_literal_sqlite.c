/* fuzz_literal_sqlite.c - a literal statement says to SQLite what was meant. */
#include <sqlite3.h>

#include "literal.h"

static sqlite3 *open_db(void)
{
    sqlite3 *db;

    CHECK(sqlite3_open(":memory:", &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db,
                       "CREATE TABLE fuzz_event (seq INTEGER PRIMARY KEY, id "
                       "TEXT, topic TEXT, key TEXT, type TEXT, headers TEXT, "
                       "payload ANY, deliver_at INTEGER) STRICT",
                       NULL, NULL, NULL) == SQLITE_OK);
    return db;
}

static void compare(sqlite3 *db, const struct outtray_event *e)
{
    const struct outtray_slice want[] = {e->topic, e->key, e->type, e->headers,
                                         e->payload};
    sqlite3_stmt *q;

    CHECK(sqlite3_prepare_v2(
              db, "SELECT topic, key, type, headers, payload FROM fuzz_event",
              -1, &q, NULL) == SQLITE_OK);
    CHECK(sqlite3_step(q) == SQLITE_ROW);
    for (int i = 0; i < (int)OT_COUNT(want); i++) {
        const void *got = sqlite3_column_blob(q, i);
        literal_same(want[i], got, (size_t)sqlite3_column_bytes(q, i),
                     sqlite3_column_type(q, i) == SQLITE_NULL);
    }
    CHECK(sqlite3_step(q) == SQLITE_DONE);
    sqlite3_finalize(q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sqlite3 *db; /* lives as long as the fuzzer */
    struct literal l;

    if (db == NULL)
        db = open_db();
    if (literal_make(&l, (struct input){data, size}, OUTTRAY_SQLITE)) {
        CHECK(sqlite3_exec(db, l.statement.sql, NULL, NULL, NULL) == SQLITE_OK);
        compare(db, &l.event);
        CHECK(sqlite3_exec(db, "DELETE FROM fuzz_event", NULL, NULL, NULL) ==
              SQLITE_OK);
    }
    literal_free(&l);
    return 0;
}
