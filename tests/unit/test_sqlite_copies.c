/* test_sqlite_copies.c - which copy of SQLite is used, and that two of them are
 * found out before they lose data. */
#define _GNU_SOURCE /* dlmopen, dladdr */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <sys/wait.h>

#include "outtray/sqlite.h"
#include "support/scratch_sqlite.h"

static void *nothing(void *ctx, const char *name)
{
    (void)ctx;
    (void)name;
    return NULL;
}

static int old_version(void)
{
    return 3036000;
}

static void *real(void *ctx, const char *name)
{
    if (ctx != NULL && strcmp(name, ctx) == 0)
        return NULL;
    return dlsym(RTLD_DEFAULT, name);
}

static void *old(void *ctx, const char *name)
{
    if (strcmp(name, "sqlite3_libversion_number") == 0)
        return (void *)old_version;
    return real(ctx, name);
}

static void unusable_copies(void **state)
{
    struct outtray_error err;

    (void)state;
    assert_int_equal(outtray_sqlite_use(nothing, NULL, &err),
                     OUTTRAY_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "outtray_sqlite_use"));
    assert_int_equal(outtray_sqlite_use(real, "sqlite3_column_blob", &err),
                     OUTTRAY_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "sqlite3_column_blob"));
    assert_int_equal(outtray_sqlite_use(old, NULL, &err),
                     OUTTRAY_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "3.37"));
    assert_int_equal(outtray_sqlite_use_loaded("/nowhere/_sqlite3.so", &err),
                     OUTTRAY_E_UNSUPPORTED);
    assert_int_equal(outtray_sqlite_use(real, NULL, &err), 0);
    assert_int_equal(outtray_sqlite_use(NULL, NULL, &err), 0);
}

static const char *library(void)
{
    Dl_info info;

    assert_true(dladdr((void *)sqlite3_open_v2, &info) != 0);
    return info.dli_fname;
}

static void a_loaded_object(void **state)
{
    struct outtray_error err;
    struct ot_store *s;
    struct scratch x;

    (void)state;
    if (outtray_sqlite_use_loaded(library(), &err) != 0)
        fail_msg("%s: %s", library(), err.text);
    scratch_make(&x);
    s = scratch_store(&x, 1);
    assert_int_equal(store_lease(s).code, 0);
    s->ops->close(s);
    scratch_drop(&x);
    assert_int_equal(outtray_sqlite_use(NULL, NULL, &err), 0);
}

static void the_same_copy_passes(void **state)
{
    struct outtray_error err;
    struct scratch x;
    sqlite3 *app;

    (void)state;
    scratch_folder(&x);
    app = scratch_app(&x);
    app_run(app, "CREATE TABLE t (a); BEGIN IMMEDIATE");
    assert_int_equal(outtray_sqlite_lock_test(x.path, &err), 0);
    /* A test that cannot tell does not say that all is well. */
    app_run(app, "ROLLBACK");
    assert_int_not_equal(outtray_sqlite_lock_test(x.path, &err), 0);
    assert_int_not_equal(outtray_sqlite_lock_test("/nowhere/x.db", &err), 0);
    sqlite3_close(app);
    scratch_drop(&x);
}

/* In a process of its own: a second copy leaves nothing as it was. */
static int with_a_second_copy(const char *path)
{
    int (*open_b)(const char *, sqlite3 **);
    int (*exec_b)(sqlite3 *, const char *, void *, void *, char **);
    void *copy = dlmopen(LM_ID_NEWLM, library(), RTLD_NOW);
    struct outtray_error err;
    sqlite3 *app;

    if (copy == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 10;
    }
    *(void **)&open_b = dlsym(copy, "sqlite3_open");
    *(void **)&exec_b = dlsym(copy, "sqlite3_exec");
    if (open_b(path, &app) != SQLITE_OK ||
        exec_b(app, "CREATE TABLE t (a); BEGIN IMMEDIATE", NULL, NULL, NULL) !=
            SQLITE_OK)
        return 11;
    if (outtray_sqlite_lock_test(path, &err) != OUTTRAY_E_STORE_TWO_COPIES)
        return 12;
    return strstr(err.text, "outtray_sqlite_use") != NULL ? 0 : 13;
}

static void two_copies_are_found_out(void **state)
{
    struct scratch x;
    int status;
    pid_t pid;

    (void)state;
    scratch_folder(&x);
    pid = fork();
    if (pid == 0)
        _exit(with_a_second_copy(x.path));
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    scratch_drop(&x);
}

static void no_change_under_an_open_file(void **state)
{
    struct outtray_error err;
    struct ot_store *s;
    struct scratch x;

    (void)state;
    scratch_make(&x);
    s = scratch_store(&x, 1);
    assert_int_equal(store_lease(s).code, 0);
    assert_int_equal(outtray_sqlite_use(real, NULL, &err),
                     OUTTRAY_E_STORE_TWO_COPIES);
    s->ops->close(s);
    assert_int_equal(outtray_sqlite_use(real, NULL, &err), 0);
    assert_int_equal(outtray_sqlite_use(NULL, NULL, &err), 0);
    scratch_drop(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unusable_copies),
        cmocka_unit_test(a_loaded_object),
        cmocka_unit_test(the_same_copy_passes),
        cmocka_unit_test(two_copies_are_found_out),
        cmocka_unit_test(no_change_under_an_open_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
