/* cli.c - from arguments to an exit status. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/help.h"
#include "cli/patience.h"
#include "cli/signals.h"
#include "outtray/cli.h"

/* --- configuration ------------------------------------------------------- */

/* One file is read: the one that was named, else the first that is there. */
static int load_file(struct ot_cli *cli)
{
    static const char *const usual[] = {"outtray.ini", "/etc/outtray.ini"};
    const char *path = ot_cli_get(cli, "config");
    if (path == NULL)
        path = getenv("OUTTRAY_CONFIG");
    if (path != NULL && path[0] == '\0')
        return 0; /* named, and it is: none */
    for (size_t i = 0; path == NULL && i < OT_COUNT(usual); i++) {
        if (access(usual[i], R_OK) == 0)
            path = usual[i];
    }
    if (path == NULL)
        return 0;
    snprintf(cli->conf_file, sizeof cli->conf_file, "%s", path);
    return outtray_conf_load_file(cli->conf, path, &cli->err);
}

/* Everybody on the machine can read the arguments of a process. */
static void warn_password(struct ot_cli *cli, const struct ot_cli_setting *set)
{
    struct ot_url url = {0};
    if (strcmp(set->name, "store.url") != 0 &&
        strcmp(set->name, "sink.url") != 0)
        return;
    if (ot_url_parse(set->value, &url, NULL) != 0)
        return;
    if (url.password != NULL)
        ot_say(cli,
               "outtray: warning: a password in the arguments can be read by "
               "every user of this machine; use %s or %s=env:NAME",
               strcmp(set->name, "store.url") == 0 ? "OUTTRAY_STORE_URL"
                                                   : "OUTTRAY_SINK_URL",
               set->name);
    ot_url_free(&url);
}

int ot_cli_load_conf(struct ot_cli *cli)
{
    int rc = load_file(cli);
    if (rc == 0)
        rc = outtray_conf_load_env(cli->conf, &cli->err);
    if (rc == 0 && cli->verbose)
        rc = outtray_conf_set(cli->conf, "log.level", "debug", &cli->err);
    if (rc == 0 && cli->quiet)
        rc = outtray_conf_set(cli->conf, "log.level", "warn", &cli->err);
    for (size_t i = 0; rc == 0 && i < cli->nset; i++) {
        warn_password(cli, &cli->set[i]);
        rc = outtray_conf_set(cli->conf, cli->set[i].name, cli->set[i].value,
                              &cli->err);
    }
    return rc;
}

/* --- errors -------------------------------------------------------------- */

int ot_cli_misuse(struct ot_cli *cli, const char *fmt, ...)
{
    char text[400];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (cli->verb != NULL)
        ot_cli_fix(cli, "outtray %s --help", cli->verb->name);
    else
        ot_cli_fix(cli, "outtray --help");
    return ot_fail(&cli->err, OUTTRAY_E_MISUSE, "%s", text);
}

void ot_cli_fix(struct ot_cli *cli, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(cli->fix, sizeof cli->fix, fmt, args);
    va_end(args);
}

/* Client libraries like several lines and a newline at the end. */
static void print_line(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n' && text[1] != '\0')
            fputs("; ", stderr);
        else if (c >= 0x20 && c != 0x7f)
            fputc(c, stderr);
        else if (c == '\t')
            fputc(' ', stderr);
    }
    fputc('\n', stderr);
}

static void print_trouble(struct ot_cli *cli, enum ot_color color,
                          const char *what, const char *text, const char *fix)
{
    bool on = cli->term.err_color;
    ot_progress_end(cli);
    fflush(stdout);
    fprintf(stderr, "%souttray:%s ", ot_term_color(on, color),
            ot_term_color(on, OT_PLAIN));
    if (cli->verb != NULL)
        fprintf(stderr, "%s: ", cli->verb->name);
    fputs(what, stderr);
    print_line(text);
    if (fix != NULL && fix[0] != '\0') {
        fputs("try: ", stderr);
        print_line(fix);
    }
}

void ot_cli_print_error(struct ot_cli *cli, int code)
{
    if (cli->fix[0] == '\0')
        ot_cli_usual_fix(cli, code, cli->fix, sizeof cli->fix);
    print_trouble(cli, OT_RED, "",
                  cli->err.text[0] != '\0' ? cli->err.text
                                           : outtray_error_text(code),
                  cli->fix);
}

void ot_cli_tell(struct ot_cli *cli, const char *text, const char *fix)
{
    print_trouble(cli, OT_YELLOW, "waits: ", text, fix);
}

/* --- the store ----------------------------------------------------------- */

int ot_cli_admin(struct ot_cli *cli)
{
    if (cli->admin != NULL)
        return 0;
    if (!ot_conf_is_set(cli->conf, "store.url")) {
        ot_cli_fix(cli, "--store postgresql://USER@HOST:PORT/DATABASE or "
                        "--store sqlite:///PATH/FILE.db");
        return ot_fail(&cli->err, OUTTRAY_E_CONF,
                       "no outbox is named: give --store URL, or set "
                       "OUTTRAY_STORE_URL or store.url in a file");
    }
    int rc = ot_admin_open(&cli->admin, cli->conf, &cli->err);
    if (rc != 0)
        return rc;
    ot_patience_init(cli);
    cli->admin->patience = &cli->patience;
    return 0;
}

char *ot_cli_url_text(struct ot_cli *cli, const char *key)
{
    struct ot_buffer b = {0};
    const char *url =
        ot_conf_is_set(cli->conf, key) ? ot_conf_secret(cli->conf, key) : NULL;
    if (url != NULL)
        ot_url_print(url, &b);
    else
        ot_buffer_puts(&b, "");
    if (!b.failed)
        return b.p;
    ot_buffer_free(&b);
    return NULL;
}

/* --- running ------------------------------------------------------------- */

static int run(struct ot_cli *cli, int argc, char **argv)
{
    int rc = ot_cli_parse(cli, argc, argv);
    if (rc != 0)
        return rc;
    if (ot_cli_has(cli, "version") && cli->verb == NULL)
        cli->verb = &ot_cli_verb_version;
    if (ot_cli_has(cli, "help") || cli->verb == NULL) {
        if (cli->verb != NULL)
            ot_help_verb(cli, cli->verb);
        else
            ot_help_overview(cli);
        return cli->verb == NULL && !ot_cli_has(cli, "help") ? 2 : 0;
    }
    if (!(cli->verb->flags & OT_CLI_NO_CONF))
        rc = ot_cli_load_conf(cli);
    return rc != 0 ? rc : cli->verb->run(cli, cli->nargs, cli->args);
}

static void clean(struct ot_cli *cli)
{
    if (cli->admin != NULL)
        cli->admin->ops->close(cli->admin);
    for (size_t i = 0; i < cli->nset; i++)
        ot_free(cli->set[i].name);
    ot_free(cli->set);
    ot_free(cli->given);
    ot_free(cli->args);
    ot_buffer_free(&cli->same);
    outtray_conf_free(cli->conf);
}

/* Whoever started us may have closed a standard descriptor. The next file or
 * socket would get its number, and what is meant for people be written into it.
 * So it gets a file that refuses that, as a closed one does. */
static int take_standard_fds(struct outtray_error *err)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        int mode = fd == STDIN_FILENO ? O_WRONLY : O_RDONLY;
        if (open("/dev/null", mode) != fd)
            return ot_fail(err, OUTTRAY_E_IO, "/dev/null: %s", strerror(errno));
    }
    return 0;
}

int outtray_cli_main(int argc, char **argv)
{
    struct ot_cli cli = {0};
    struct ot_cli_signals signals;
    ot_cli_signals_install(&signals);
    int rc = take_standard_fds(&cli.err);
    ot_term_look(&cli.term);
    cli.conf = outtray_conf_new();
    if (rc == 0)
        rc = cli.conf != NULL ? run(&cli, argc, argv) : ot_fail_nomem(&cli.err);
    /* What the verb said last matters more than that nobody listens; what it has
     * found (1) is lost with its output. */
    int end = ot_cli_out_end(&cli);
    if (rc == 0 || (rc == 1 && end < 0))
        rc = end;
    if (rc < 0) {
        ot_cli_print_error(&cli, rc);
        rc = outtray_error_exit(rc);
    }
    clean(&cli);
    ot_cli_signals_restore(&signals);
    return rc;
}
