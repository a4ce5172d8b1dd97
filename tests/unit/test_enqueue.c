/* The enqueue builder: the shared examples, ids, limits, memory. */
#include "support/alloc_fail.h"
#include "support/vector.h"

#include <pthread.h>

#define S(literal) ((struct outtray_slice){literal, sizeof(literal) - 1})

enum { WRITE_FLAGS = JSON_INDENT(2) };

static bool writing(void)
{
    const char *what = getenv("OUTTRAY_VECTORS");

    return what != NULL && strcmp(what, "write") == 0;
}

static void save(const json_t *root, const char *file)
{
    char path[1024];

    vector_path(file, path);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(json_dumpf(root, out, WRITE_FLAGS), 0);
    fputc('\n', out);
    fclose(out);
}

/* Same as what the file has, or put into it. */
static void settle(json_t *c, const char *member, json_t *got)
{
    const char *name = json_string_value(json_object_get(c, "name"));

    if (writing()) {
        json_object_set_new(c, member, got);
        return;
    }
    json_t *want = json_object_get(c, member);
    if (!json_equal(want, got)) {
        char *w = json_dumps(want, WRITE_FLAGS | JSON_ENCODE_ANY);
        char *g = json_dumps(got, WRITE_FLAGS | JSON_ENCODE_ANY);
        fail_msg("%s: %s\nwant %s\ngot %s", name, member, w, g);
    }
    json_decref(got);
}

/* --- the shared examples -------------------------------------------------- */

static json_t *render_all(struct vector_input *in, json_t **ids)
{
    json_t *all = json_object();

    *ids = NULL;
    for (int d = OUTTRAY_POSTGRESQL; d <= OUTTRAY_SQLITE; d++)
        for (int s = OUTTRAY_DOLLAR; s <= OUTTRAY_COPY; s++) {
            struct outtray_statement st;
            struct outtray_error err;
            char key[64];
            if (s == OUTTRAY_COPY &&
                (d == OUTTRAY_SQLITE || in->options.strict))
                continue;
            in->options.dialect = (enum outtray_dialect)d;
            in->options.style = (enum outtray_style)s;
            if (outtray_enqueue_build(&st, &in->options, in->events, in->n,
                                      &err) != 0)
                fail_msg("%s", err.text);
            assert_int_equal(st.sql[st.sql_n], '\0');
            assert_int_equal(strlen(st.sql), st.sql_n);
            assert_int_equal(st.nids, in->n);
            snprintf(key, sizeof(key), "%s/%s", vector_dialects[d],
                     vector_styles[s]);
            json_object_set_new(all, key, vector_statement(&st));
            json_decref(*ids);
            *ids = json_array();
            for (size_t i = 0; i < st.nids; i++)
                json_array_append_new(*ids, json_string(st.ids[i]));
            outtray_statement_free(&st);
        }
    return all;
}

static void test_vectors(void **state)
{
    (void)state;
    json_t *root = vector_load("enqueue.json"), *c, *ids;
    size_t i;

    assert_in_range(json_array_size(root), 10, 1000);
    json_array_foreach(root, i, c)
    {
        struct vector_input in = vector_input(c);
        json_t *got = render_all(&in, &ids);
        settle(c, "ids", ids);
        settle(c, "expect", got);
        vector_free(&in);
    }
    if (writing())
        save(root, "enqueue.json");
    json_decref(root);
}

static int named(const char *const *names, int n, const json_t *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], json_string_value(name)) == 0)
            return i;
    fail_msg("no %s", json_string_value(name));
    return 0;
}

static void test_error_vectors(void **state)
{
    (void)state;
    json_t *root = vector_load("enqueue_errors.json"), *c;
    size_t i;

    assert_in_range(json_array_size(root), 10, 1000);
    json_array_foreach(root, i, c)
    {
        struct vector_input in = vector_input(c);
        const json_t *dialect = json_object_get(c, "dialect");
        const json_t *style = json_object_get(c, "style");
        for (int k = 0; k < 8; k++) {
            struct outtray_statement st, zero = {0};
            struct outtray_error err;
            if ((dialect && named(vector_dialects, 2, dialect) != k / 4) ||
                (style && named(vector_styles, 4, style) != k % 4))
                continue;
            in.options.dialect = (enum outtray_dialect)(k / 4);
            in.options.style = (enum outtray_style)(k % 4);
            memset(&st, 0xa5, sizeof(st));
            int rc =
                outtray_enqueue_build(&st, &in.options, in.events, in.n, &err);
            if (rc == 0)
                fail_msg("%s: no error",
                         json_string_value(json_object_get(c, "name")));
            assert_int_equal(rc, err.code);
            assert_memory_equal(&st, &zero, sizeof(st));
            settle(c, "error",
                   json_pack("{s:s,s:s}", "name", outtray_error_name(rc),
                             "text", err.text));
            /* The code alone, for whoever wants no text. */
            assert_int_equal(outtray_enqueue_build(&st, &in.options, in.events,
                                                   in.n, NULL),
                             rc);
        }
        vector_free(&in);
    }
    if (writing())
        save(root, "enqueue_errors.json");
    json_decref(root);
}

/* --- ids ------------------------------------------------------------------ */

static void test_ids_are_new_and_ascend(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct outtray_event *events = calloc(N, sizeof(*events));
    struct outtray_statement st;
    struct ot_uuid id;
    char before[37] = "";

    for (size_t i = 0; i < N; i++)
        events[i].topic = S("t");
    assert_int_equal(outtray_enqueue_build(&st, NULL, events, N, NULL), 0);
    assert_int_equal(st.nids, N);
    for (size_t i = 0; i < N; i++) {
        assert_true(strcmp(before, st.ids[i]) < 0);
        memcpy(before, st.ids[i], 37);
        assert_true(ot_uuid_parse(ot_slice_of(before), &id));
        int64_t age = ot_wall_us() - ot_uuid_time_us(id);
        assert_in_range(age + 10000000, 0, 20000000);
    }
    outtray_statement_free(&st);
    free(events);
}

static void *many_ids(void *arg)
{
    char(*out)[37] = arg;

    for (int i = 0; i < 2000; i++)
        if (outtray_id_new(out[i]) != 0)
            return NULL;
    return arg;
}

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, 37);
}

static void test_ids_of_threads_differ(void **state)
{
    (void)state;
    enum { THREADS = 4, EACH = 2000, ALL = THREADS * EACH };
    char(*ids)[37] = calloc(ALL, sizeof(*ids));
    pthread_t threads[THREADS];
    void *done;

    for (int t = 0; t < THREADS; t++)
        assert_int_equal(
            pthread_create(&threads[t], NULL, many_ids, ids + t * EACH), 0);
    for (int t = 0; t < THREADS; t++) {
        assert_int_equal(pthread_join(threads[t], &done), 0);
        assert_non_null(done);
    }
    qsort(ids, ALL, sizeof(*ids), by_text);
    for (int i = 1; i < ALL; i++)
        assert_true(memcmp(ids[i - 1], ids[i], 37) < 0);
    free(ids);
}

/* --- what only C can do wrong --------------------------------------------- */

static void test_misuse(void **state)
{
    (void)state;
    struct outtray_event e = {.topic = S("t")};
    struct outtray_enqueue_options options = {0};
    struct outtray_statement st;
    struct outtray_error err;

    options.style = (enum outtray_style)5;
    assert_int_equal(outtray_enqueue_build(&st, &options, &e, 1, &err),
                     OUTTRAY_E_MISUSE);
    assert_string_equal(err.text, "style 5 is not known");
    for (int k = 0; k < 2; k++) {
        options.style = OUTTRAY_COPY;
        options.strict = k == 0;
        options.dialect = k == 0 ? OUTTRAY_POSTGRESQL : OUTTRAY_SQLITE;
        assert_int_equal(outtray_enqueue_build(&st, &options, &e, 1, &err),
                         OUTTRAY_E_MISUSE);
        assert_non_null(strstr(err.text, "COPY is for PostgreSQL"));
    }
    options = (struct outtray_enqueue_options){0};
    options.dialect = (enum outtray_dialect)2;
    assert_int_equal(outtray_enqueue_build(&st, &options, &e, 1, &err),
                     OUTTRAY_E_MISUSE);
    e.key = (struct outtray_slice){NULL, 3};
    assert_int_equal(outtray_enqueue_build(&st, NULL, &e, 1, &err),
                     OUTTRAY_E_MISUSE);
    assert_string_equal(err.text, "event 0: a slice has a length and no bytes");
    outtray_statement_free(NULL);
    st = (struct outtray_statement){0};
    outtray_statement_free(&st);
    outtray_statement_free(&st);
}

static void test_batch_has_a_limit(void **state)
{
    (void)state;
    enum { N = 300, BYTES = 921600 };
    struct outtray_event events[N] = {0};
    char *payload = calloc(1, BYTES);
    struct outtray_statement st;
    struct outtray_error err;

    for (int i = 0; i < N; i++) {
        events[i].topic = S("t");
        events[i].payload = (struct outtray_slice){payload, BYTES};
    }
    assert_int_equal(outtray_enqueue_build(&st, NULL, events, N, &err),
                     OUTTRAY_E_TOO_LARGE);
    assert_string_equal(err.text,
                        "300 events have more than 268435456 bytes together: "
                        "enqueue them in several calls, one transaction can "
                        "hold all of them");
    free(payload);
}

/* What fits exactly fits. */
static void test_sqlite_takes_4680_events(void **state)
{
    (void)state;
    enum { N = 4681 };
    struct outtray_event *events = calloc(N, sizeof(*events));
    struct outtray_enqueue_options options = {.dialect = OUTTRAY_SQLITE};
    struct outtray_statement st;

    for (int i = 0; i < N; i++)
        events[i].topic = S("t");
    assert_int_equal(outtray_enqueue_build(&st, &options, events, N - 1, NULL),
                     0);
    assert_int_equal(st.nparams, 32760);
    outtray_statement_free(&st);
    options.style = OUTTRAY_LITERAL;
    assert_int_equal(outtray_enqueue_build(&st, &options, events, N, NULL), 0);
    assert_int_equal(st.nparams, 0);
    outtray_statement_free(&st);
    free(events);
}

/* Drivers keep statements prepared by their text. */
static void test_text_does_not_depend_on_content(void **state)
{
    (void)state;
    struct outtray_event some[5] = {{.topic = S("a")}, {.topic = S("b")}};
    struct outtray_event other[5] = {
        {.topic = S("c"), .key = S("k"), .payload = S("p")},
        {.topic = S("d"), .deliver_at_us = 1795555125123456}};
    struct outtray_statement a, b;

    for (int i = 2; i < 5; i++)
        some[i] = other[i] = other[0];
    for (int n = 1; n <= 2; n++) {
        assert_int_equal(outtray_enqueue_build(&a, NULL, some, (size_t)n, NULL),
                         0);
        assert_int_equal(
            outtray_enqueue_build(&b, NULL, other, n == 1 ? 1 : 5, NULL), 0);
        assert_string_equal(a.sql, b.sql);
        outtray_statement_free(&a);
        outtray_statement_free(&b);
    }
}

static void test_percent_has_only_placeholders(void **state)
{
    (void)state;
    struct outtray_event events[2] = {
        {.topic = S("100%"), .key = S("%s%%"), .payload = S("%d")},
        {.topic = S("%")}};
    struct outtray_enqueue_options options = {.style = OUTTRAY_PERCENT};

    for (int k = 0; k < 8; k++) {
        struct outtray_statement st;
        size_t found = 0;
        options.dialect = k & 1 ? OUTTRAY_SQLITE : OUTTRAY_POSTGRESQL;
        options.strict = k & 2;
        assert_int_equal(outtray_enqueue_build(&st, &options, events,
                                               k & 4 ? 2 : 1, NULL),
                         0);
        for (const char *p = st.sql; (p = strchr(p, '%')) != NULL; p++) {
            assert_int_equal(p[1], 's');
            found++;
        }
        assert_int_equal(found, st.nparams);
        outtray_statement_free(&st);
    }
}

/* --- memory --------------------------------------------------------------- */

static int build_one_shape(void *ctx)
{
    const struct outtray_enqueue_options *options = ctx;
    static const struct outtray_event events[] = {
        {.topic = {"t", 1},
         .key = {"k\\", 2},
         .headers = {"{\"\\u0061\":\"\\n\"}", 15},
         .payload = {"\0p", 2},
         .id = {"01912d68-783e-7a03-8467-5661c1243ad4", 36}},
        {.topic = {"t", 1}, .id = {"01912d68-783e-7a03-8467-5661c1243ad5", 36}},
        {.topic = {"t", 1}, .deliver_at_us = 1795555125123456},
    };
    struct outtray_statement st;
    size_t n = options->max_payload_bytes == 7 ? 1 : OT_COUNT(events);
    int rc = outtray_enqueue_build(&st, options, events, n, NULL);

    if (rc == 0)
        outtray_statement_free(&st);
    else if (st.memory != NULL || st.sql != NULL)
        return OUTTRAY_E_INTERNAL;
    return rc;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    for (int k = 0; k < 32; k++) {
        struct outtray_enqueue_options options = {
            .style = (enum outtray_style)(k & 3),
            .dialect = k & 4 ? OUTTRAY_SQLITE : OUTTRAY_POSTGRESQL,
            .strict = k & 8,
            .max_payload_bytes = k & 16 ? 7 : 8,
        };
        alloc_fail_each(build_one_shape, &options);
    }
    struct outtray_enqueue_options copy = {.style = OUTTRAY_COPY,
                                           .max_payload_bytes = 8};
    alloc_fail_each(build_one_shape, &copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_error_vectors),
        cmocka_unit_test(test_ids_are_new_and_ascend),
        cmocka_unit_test(test_ids_of_threads_differ),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_batch_has_a_limit),
        cmocka_unit_test(test_sqlite_takes_4680_events),
        cmocka_unit_test(test_text_does_not_depend_on_content),
        cmocka_unit_test(test_percent_has_only_placeholders),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
