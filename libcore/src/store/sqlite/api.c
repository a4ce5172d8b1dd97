/* api.c - finding the copy of SQLite that the host process uses.
 *
 * Which copy it is belongs to the process and not to a store, because the
 * locks do. So the choice is the one thing here that is kept for all stores.
 */
#define _GNU_SOURCE /* RTLD_DEFAULT, RTLD_NOLOAD */
#include "store/sqlite/api.h"

#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ot_sqlite_api chosen; /* by outtray_sqlite_use */
static bool is_chosen;
static unsigned users;  /* open files */
static pid_t users_pid; /* whose they are */

static void *lookup_default(void *ctx, const char *name)
{
    (void)ctx;
    return dlsym(RTLD_DEFAULT, name);
}

static void *lookup_handle(void *handle, const char *name)
{
    return dlsym(handle, name);
}

static int fill(struct ot_sqlite_api *out, outtray_sqlite_lookup *lookup,
                void *ctx, const char *where, struct outtray_error *err)
{
    static const char *const names[] = {
#define F(name) "sqlite3_" #name,
#include "store/sqlite/functions.def"
#undef F
    };
    /* Members are pointers of one size, in the order of the names. */
    void *found[OT_COUNT(names)];

    _Static_assert(sizeof(found) == sizeof(*out), "a table of pointers");
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < OT_COUNT(names); i++) {
        found[i] = lookup(ctx, names[i]);
        if (found[i] == NULL)
            return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                           "no SQLite in %s (%s is missing): load the "
                           "application's SQLite driver first and name its "
                           "copy with outtray_sqlite_use",
                           where, names[i]);
    }
    memcpy(out, found, sizeof(*out));
    if (out->libversion_number() < OT_SQLITE_OLDEST)
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "SQLite %s is too old: 3.37 or newer is needed",
                       out->libversion());
    return 0;
}

static int use(outtray_sqlite_lookup *lookup, void *ctx, const char *where,
               struct outtray_error *err)
{
    struct ot_sqlite_api api;
    int code =
        fill(&api, lookup != NULL ? lookup : lookup_default, ctx, where, err);

    if (code != 0)
        return code;
    pthread_mutex_lock(&lock);
    if (users > 0 && (!is_chosen || chosen.open_v2 != api.open_v2)) {
        code = ot_fail(err, OUTTRAY_E_STORE_TWO_COPIES,
                       "a SQLite store is open by another copy: choose the "
                       "copy before the first store is opened");
    } else {
        chosen = api;
        is_chosen = lookup != NULL;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

int outtray_sqlite_use(outtray_sqlite_lookup *lookup, void *ctx,
                       struct outtray_error *err)
{
    return use(lookup, ctx,
               lookup != NULL ? "the copy that was named" : "this process",
               err);
}

int outtray_sqlite_use_loaded(const char *path, struct outtray_error *err)
{
    void *handle = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    int code;

    if (handle == NULL)
        return ot_fail(err, OUTTRAY_E_UNSUPPORTED,
                       "%s is not loaded in this process: load the "
                       "application's SQLite driver first",
                       path);
    code = use(lookup_handle, handle, path, err);
    /* The reference is kept on success: the functions must not go away. */
    if (code != 0)
        dlclose(handle);
    return code;
}

int ot_sqlite_api_acquire(struct ot_sqlite_api *out, struct outtray_error *err)
{
    int code = 0;

    pthread_mutex_lock(&lock);
    /* SQLite believes that it holds the locks of the parent, whoever opens the
     * file in the child. */
    if (users > 0 && users_pid != getpid())
        code = ot_fail(err, OUTTRAY_E_FORKED,
                       "this process was forked from one that had a SQLite "
                       "store open: open the first one after fork()");
    else if (is_chosen)
        *out = chosen;
    else
        code = fill(out, lookup_default, NULL, "this process", err);
    if (code == 0) {
        users++;
        users_pid = getpid();
    }
    pthread_mutex_unlock(&lock);
    return code;
}

void ot_sqlite_api_release(void)
{
    pthread_mutex_lock(&lock);
    users--;
    pthread_mutex_unlock(&lock);
}

/* SQLITE_BUSY is what must happen: the caller holds the write lock. */
int outtray_sqlite_lock_test(const char *scratch_path,
                             struct outtray_error *err)
{
    struct ot_sqlite_api f;
    sqlite3 *db = NULL;
    int rc, code = ot_sqlite_api_acquire(&f, err);

    if (code != 0)
        return code;
    rc = f.open_v2(scratch_path, &db,
                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (rc == SQLITE_OK)
        rc = f.exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    if (rc == SQLITE_OK)
        code = ot_fail(err, OUTTRAY_E_STORE_TWO_COPIES,
                       "the application's SQLite driver and this library use "
                       "two copies of SQLite, which would lose committed data: "
                       "name the driver's copy with outtray_sqlite_use, or run "
                       "the relay in a process of its own");
    else if (rc != SQLITE_BUSY)
        code = ot_fail(err, OUTTRAY_E_STORE,
                       "the test for two copies of SQLite did not work on %s: "
                       "%s",
                       scratch_path, db != NULL ? f.errmsg(db) : "no memory");
    f.close_v2(db);
    ot_sqlite_api_release();
    return code;
}
