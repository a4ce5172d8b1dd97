/* test_schema.c - the SQL that makes and removes an outbox. */
#include "support/alloc_fail.h"

#include "outtray/schema.h"

static const enum outtray_dialect dialects[] = {OUTTRAY_POSTGRESQL,
                                                OUTTRAY_SQLITE};

static void test_every_migration(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        int newest = outtray_schema_version(dialects[i]);

        assert_true(newest >= 1);
        for (int number = 1; number <= newest; number++) {
            struct outtray_error err = {0};
            char *sql = outtray_schema_sql(dialects[i], number, "Shop_2", &err);

            assert_non_null(sql);
            assert_null(strstr(sql, "{{"));
            assert_non_null(strstr(sql, "Shop_2"));
            if (number > 1)
                assert_non_null(strstr(sql, "SET schema_version = "));
            outtray_schema_free(sql);
        }
    }
}

static void test_the_name(void **state)
{
    char *sql = outtray_schema_drop_sql(OUTTRAY_SQLITE, NULL, NULL);

    (void)state;
    assert_non_null(strstr(sql, "DROP TABLE IF EXISTS outtray_event;"));
    outtray_schema_free(sql);
    sql = outtray_schema_drop_sql(OUTTRAY_POSTGRESQL, "Shop", NULL);
    assert_non_null(strstr(sql, "\"Shop\".event"));
    assert_non_null(strstr(sql, "$name$\"Shop\"$name$"));
    outtray_schema_free(sql);
    outtray_schema_free(NULL);
}

static void test_refusals(void **state)
{
    struct outtray_error err = {0};
    int newest = outtray_schema_version(OUTTRAY_SQLITE);

    (void)state;
    assert_null(outtray_schema_sql(OUTTRAY_SQLITE, 0, NULL, &err));
    assert_int_equal(err.code, OUTTRAY_E_NOT_FOUND);
    assert_null(outtray_schema_sql(OUTTRAY_SQLITE, newest + 1, NULL, &err));
    assert_int_equal(err.code, OUTTRAY_E_NOT_FOUND);
    assert_null(outtray_schema_sql(OUTTRAY_POSTGRESQL, 1, "a\"; DROP", &err));
    assert_int_equal(err.code, OUTTRAY_E_MISUSE);
    assert_null(outtray_schema_drop_sql(OUTTRAY_POSTGRESQL, "", &err));
    assert_int_equal(err.code, OUTTRAY_E_MISUSE);
}

static int both(void *ctx)
{
    struct outtray_error err = {0};
    char *sql = outtray_schema_sql(OUTTRAY_POSTGRESQL, 1, "shop", &err);

    (void)ctx;
    if (sql != NULL) {
        outtray_schema_free(sql);
        sql = outtray_schema_drop_sql(OUTTRAY_SQLITE, "shop", &err);
    }
    outtray_schema_free(sql);
    return err.code;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    alloc_fail_each(both, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_migration),
        cmocka_unit_test(test_the_name),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
