/* file.c - an INI file, read by libinih. */
#include "conf/object.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <unistd.h>

#define CONF_FILE_MAX (1 << 20)
#define NAME_MAX_     128

static int read_all(int fd, size_t max, struct ot_buffer *out)
{
    char part[4096];
    ssize_t n;

    for (;;) {
        n = read(fd, part, sizeof(part));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : 0;
        if (out->n + (size_t)n > max)
            return EFBIG;
        ot_buffer_add(out, part, (size_t)n);
    }
}

int ot_conf_read_file(const char *path, size_t max, struct ot_buffer *out,
                      struct outtray_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int failed = fd < 0 ? errno : read_all(fd, max, out);

    if (fd >= 0)
        close(fd);
    if (failed == EFBIG)
        return ot_fail(err, OUTTRAY_E_CONF,
                       "file %s: larger than %zu bytes, is it the right one?",
                       path, max);
    if (failed != 0)
        return ot_fail(err, OUTTRAY_E_CONF, "file %s: cannot be read: %s", path,
                       strerror(failed));
    if (out->failed)
        return ot_fail_nomem(err);
    if (out->n != 0 && memchr(out->p, '\0', out->n) != NULL)
        return ot_fail(err, OUTTRAY_E_CONF, "file %s: has a zero byte", path);
    return 0;
}

/* libinih asks for lines and hands out pairs; this knows where it is. */
struct reading {
    struct outtray_conf *conf;
    struct outtray_error *err;
    const char *rest; /* of the text, from the next line on */
    int line;         /* that was handed out last */
    bool continues;   /* it is indented: goes on with the value above */
    int code;         /* of the first failure */
    int failed_line;
    bool seen[OT_CONF_KEYS];
    char name[NAME_MAX_]; /* of the pair that may continue */
    struct ot_buffer value;
};

static void fail_here(struct reading *r, int code)
{
    if (r->code == 0) {
        r->code = code;
        r->failed_line = r->line;
    }
}

/* One line, as fgets would give it. libinih takes at most size - 1 bytes and
 * would take the rest of a longer line for a line of its own. */
static char *next_line(char *out, int size, void *ctx)
{
    struct reading *r = ctx;
    size_t n = strcspn(r->rest, "\n"), kept = n;
    size_t blank = strspn(r->rest, " \t\r");

    if (*r->rest == '\0')
        return NULL;
    r->line++;
    r->continues = blank > 0 && blank < n;
    if (n + 2 > (size_t)size) {
        kept = (size_t)size - 2;
        if (r->rest[blank] != ';' && r->rest[blank] != '#')
            fail_here(r, ot_fail(r->err, OUTTRAY_E_CONF,
                                 "a line has at most %d bytes: go on with the "
                                 "value in the next line, indented",
                                 size - 2));
    }
    memcpy(out, r->rest, kept);
    out[kept] = '\n';
    out[kept + 1] = '\0';
    r->rest += n + (r->rest[n] == '\n');
    return out;
}

/* Somebody indented [section] or "key = value" for looks. */
static bool looks_like_own(const struct reading *r, const char *value)
{
    char name[NAME_MAX_];
    size_t section = strcspn(r->name, "."), n = strcspn(value, " \t=");

    if (value[0] == '[')
        return true;
    if (value[n + strspn(value + n, " \t")] != '=' ||
        section + n + 2 > sizeof(name))
        return false;
    memcpy(name, r->name, section);
    name[section] = '.';
    memcpy(name + section + 1, value, n);
    name[section + 1 + n] = '\0';
    return ot_conf_find(name) >= 0;
}

static int fail_duplicate(struct reading *r)
{
    return ot_fail(r->err, OUTTRAY_E_CONF, "%s: is set twice in this file",
                   r->name);
}

static int set_pair(struct reading *r, const char *value)
{
    int i = ot_conf_find(r->name);

    if (!r->continues) {
        if (i >= 0 && r->seen[i])
            return fail_duplicate(r);
        if (i >= 0)
            r->seen[i] = true;
        ot_buffer_clear(&r->value);
    } else if (looks_like_own(r, value)) {
        return ot_fail(r->err, OUTTRAY_E_CONF,
                       "an indented line goes on with the value of %s above: "
                       "remove the blanks",
                       r->name);
    }
    ot_buffer_puts(&r->value, value);
    if (r->value.failed)
        return ot_fail_nomem(r->err);
    return outtray_conf_set(r->conf, r->name, r->value.p, r->err);
}

static bool set_name(struct reading *r, const char *section, const char *name)
{
    size_t n = strlen(section), m = strlen(name);

    if (n + m + 2 > sizeof(r->name))
        return false;
    memcpy(r->name, section, n);
    if (n != 0)
        r->name[n++] = '.';
    memcpy(r->name + n, name, m + 1);
    return true;
}

static int take_pair(void *ctx, const char *section, const char *name,
                     const char *value)
{
    struct reading *r = ctx;

    if (r->code != 0)
        return 1;
    if (!set_name(r, section, name))
        fail_here(r,
                  ot_fail(r->err, OUTTRAY_E_CONF, "%.60s: unknown key", name));
    else
        fail_here(r, set_pair(r, value));
    return 1;
}

static int parse(struct reading *r)
{
    int line = ini_parse_stream(next_line, r, take_pair, r);

    if (line < 0)
        return ot_fail_nomem(r->err);
    if (line > 0 && (r->code == 0 || line < r->failed_line)) {
        r->failed_line = line;
        r->code = ot_fail(r->err, OUTTRAY_E_CONF,
                          "neither [section] nor key = value");
    }
    return r->code;
}

int outtray_conf_load_file(struct outtray_conf *conf, const char *path,
                           struct outtray_error *err)
{
    struct ot_buffer text = {0};
    struct reading r = {.conf = conf, .err = err};
    int rc = ot_conf_read_file(path, CONF_FILE_MAX, &text, err);

    if (rc == 0 && text.n != 0) {
        r.rest = text.p;
        rc = parse(&r);
        if (rc != 0 && rc != OUTTRAY_E_NOMEM)
            ot_fail_context(err, rc, "%s line %d", path, r.failed_line);
    }
    ot_buffer_free(&r.value);
    ot_buffer_free(&text);
    return rc;
}
