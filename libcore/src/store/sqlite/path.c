/* path.c - what stands in the way to the file, in words that say what to do.
 *
 * SQLite has few codes for it, and for some cases a wrong one; a folder or a
 * pipe it would even try. What is a mistake in store.url is said at once; what
 * was there once may come back. */
#include "store/sqlite/db.h"

#include <errno.h>
#include <libgen.h>
#include <sys/stat.h>
#include <unistd.h>

/* Which of the folders on the way is the first that is not there? */
static int no_folder(const struct ot_sqlite_db *db, const char *folder,
                     struct outtray_error *err)
{
    if (db->was_open)
        return ot_fail(err, OUTTRAY_E_STORE_UNAVAILABLE,
                       "%s: the folder %s is gone while it was in use: put it "
                       "back",
                       db->path, folder);
    return ot_fail(err, OUTTRAY_E_CONF,
                   "%s: there is no folder %s: make it, or correct store.url%s",
                   db->path, folder,
                   *db->path == '/' ? " (this path is absolute; a relative one "
                                      "is written sqlite:name.db)"
                                    : "");
}

static int refused(const struct ot_sqlite_db *db, const char *what, int why,
                   struct outtray_error *err)
{
    if (why == EROFS)
        return ot_fail(err, OUTTRAY_E_STORE_STANDBY,
                       "%s: the file system is mounted read-only: mount it "
                       "read-write, or move the file",
                       db->path);
    return ot_fail(err, OUTTRAY_E_STORE_PERMISSION,
                   "%s: uid %ld may not %s: give this user read and write "
                   "access to the file and its folder (-wal and -shm files are "
                   "made beside it)",
                   db->path, (long)geteuid(), what);
}

static int check_folder(const struct ot_sqlite_db *db, const char *folder,
                        bool write, struct outtray_error *err)
{
    struct stat st;

    if (stat(folder, &st) != 0)
        return errno == EACCES ? refused(db, "enter its folder", errno, err)
                               : no_folder(db, folder, err);
    if (!S_ISDIR(st.st_mode))
        return ot_fail(err, OUTTRAY_E_CONF,
                       "%s: %s is no folder: correct store.url", db->path,
                       folder);
    if (access(folder, X_OK) != 0)
        return refused(db, "enter its folder", errno, err);
    if (write && access(folder, W_OK) != 0)
        return refused(db, "write in its folder", errno, err);
    return 0;
}

/* Nothing there is no obstacle: init makes it. */
static int check_file(const struct ot_sqlite_db *db, bool write,
                      struct outtray_error *err)
{
    struct stat st;

    if (stat(db->path, &st) != 0)
        return 0;
    if (!S_ISREG(st.st_mode))
        return ot_fail(err, OUTTRAY_E_CONF,
                       "%s is %s: store.url must name the database file",
                       db->path,
                       S_ISDIR(st.st_mode) ? "a folder" : "no regular file");
    if (access(db->path, R_OK) != 0)
        return refused(db, "read the file", errno, err);
    if (write && access(db->path, W_OK) != 0)
        return refused(db, "write the file", errno, err);
    return 0;
}

int ot_sqlite_path_check(const struct ot_sqlite_db *db, bool write,
                         struct outtray_error *err)
{
    char *copy = ot_strdup(db->path);
    int code = copy != NULL ? check_folder(db, dirname(copy), write, err)
                            : ot_fail_nomem(err);

    ot_free(copy);
    return code == 0 ? check_file(db, write, err) : code;
}
