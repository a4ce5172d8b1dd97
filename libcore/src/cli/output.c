/* output.c - everything the command line says, except its log. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static void out_failed(struct ot_cli *cli)
{
    if (cli->out_error == 0)
        cli->out_error = errno != 0 ? errno : EIO;
}

void ot_out(struct ot_cli *cli, const char *fmt, ...)
{
    if (cli->out_error != 0)
        return;
    ot_progress_end(cli);
    va_list args;
    va_start(args, fmt);
    if (vfprintf(stdout, fmt, args) < 0)
        out_failed(cli);
    va_end(args);
}

void ot_out_bytes(struct ot_cli *cli, const void *p, size_t n)
{
    if (cli->out_error == 0 && n > 0 && fwrite(p, 1, n, stdout) != n)
        out_failed(cli);
}

void ot_add_safe(struct ot_buffer *b, struct ot_slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        /* C1 controls come as 0xc2 0x80..0x9f in UTF-8. */
        if (c == 0xc2 && i + 1 < text.n && (unsigned char)text.p[i + 1] < 0xa0)
            ot_buffer_printf(b, "\\x%02x", (unsigned char)text.p[++i]);
        else if (c < 0x20 || c == 0x7f)
            ot_buffer_printf(b, "\\x%02x", c);
        else
            ot_buffer_putc(b, (char)c);
    }
}

void ot_out_safe(struct ot_cli *cli, struct ot_slice text)
{
    struct ot_buffer b = {0};
    ot_add_safe(&b, text);
    if (b.failed)
        cli->out_error = ENOMEM;
    ot_out_bytes(cli, b.p, b.n);
    ot_buffer_free(&b);
}

static int write_json(const char *p, size_t n, void *ctx)
{
    struct ot_cli *cli = ctx;
    ot_out_bytes(cli, p, n);
    return cli->out_error == 0 ? 0 : -1;
}

void ot_out_json(struct ot_cli *cli, json_t *stolen)
{
    if (stolen == NULL) {
        cli->out_error = ENOMEM;
        return;
    }
    (void)json_dump_callback(stolen, write_json, cli,
                             JSON_COMPACT | JSON_REAL_PRECISION(12));
    ot_out_bytes(cli, "\n", 1);
    json_decref(stolen);
}

bool ot_cli_out_ok(const struct ot_cli *cli)
{
    return cli->out_error == 0;
}

int ot_cli_out_end(struct ot_cli *cli)
{
    ot_progress_end(cli);
    errno = 0;
    if (fflush(stdout) != 0)
        out_failed(cli);
    if (cli->out_error == 0 || cli->out_error == EPIPE)
        return 0;
    return ot_fail(&cli->err, OUTTRAY_E_IO, "standard output: %s",
                   strerror(cli->out_error));
}

void ot_say(struct ot_cli *cli, const char *fmt, ...)
{
    if (cli->quiet || cli->json)
        return;
    ot_progress_end(cli);
    va_list args;
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void ot_next(struct ot_cli *cli, const char *fmt, ...)
{
    if (cli->quiet || cli->json || !cli->term.err)
        return;
    ot_progress_end(cli);
    fflush(stdout);
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%snext:%s ", ot_term_color(cli->term.err_color, OT_DIM),
            ot_term_color(cli->term.err_color, OT_PLAIN));
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

void ot_progress(struct ot_cli *cli, const char *fmt, ...)
{
    if (cli->quiet || cli->json || !cli->term.err)
        return;
    char line[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n < 0)
        return;
    /* A line that wraps could not be replaced. */
    int most = cli->term.width - 1;
    fprintf(stderr, "\r%.*s\033[K", most, line);
    fflush(stderr);
    cli->progress = true;
}

void ot_progress_end(struct ot_cli *cli)
{
    if (!cli->progress)
        return;
    cli->progress = false;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}

json_t *ot_json_text(struct ot_slice text)
{
    if (text.p == NULL)
        return json_null();
    json_t *made = json_stringn(text.p, text.n);
    if (made != NULL)
        return made;
    /* Not UTF-8: a plain INSERT into SQLite may hold anything. Say it as the
     * bytes' Latin-1 rather than fail the listing. */
    struct ot_buffer b = {0};
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (c < 0x80) {
            ot_buffer_putc(&b, (char)c);
        } else {
            ot_buffer_putc(&b, (char)(0xc0 | c >> 6));
            ot_buffer_putc(&b, (char)(0x80 | (c & 0x3f)));
        }
    }
    made = b.failed ? NULL : json_stringn(b.n > 0 ? b.p : "", b.n);
    ot_buffer_free(&b);
    return made;
}

json_t *ot_json_time(int64_t wall_us)
{
    char text[32];
    return wall_us == 0 ? json_null()
                        : json_string(ot_time_text(wall_us, text));
}

char *ot_number_text(int64_t n, char out[32])
{
    char digits[24];
    uint64_t u = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)u);
    char *to = out;
    if (n < 0)
        *to++ = '-';
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

const char *ot_events_word(int64_t n)
{
    return n == 1 ? "event" : "events";
}
