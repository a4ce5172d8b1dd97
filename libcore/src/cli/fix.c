/* fix.c - what to type after an error. */
#include "cli/cli.h"

#include <stdio.h>

/* As a shell wants it: quoted if it has anything but the usual characters. */
static void add_quoted(struct ot_buffer *b, const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789_-./:@,=+%";
    if (text[0] != '\0' && text[strspn(text, plain)] == '\0') {
        ot_buffer_puts(b, text);
        return;
    }
    ot_buffer_putc(b, '\'');
    for (; *text != '\0'; text++) {
        if (*text == '\'')
            ot_buffer_puts(b, "'\\''");
        else
            ot_buffer_putc(b, *text);
    }
    ot_buffer_putc(b, '\'');
}

/* As it was typed, without its password. */
static void add_url(struct ot_buffer *b, const char *typed)
{
    struct ot_buffer shown = {0};
    ot_url_print(typed, &shown);
    b->failed |= shown.failed;
    add_quoted(b, shown.failed ? "" : shown.p);
    ot_buffer_free(&shown);
}

const char *ot_cli_same(struct ot_cli *cli)
{
    static const char *const names[] = {"config", "store", "outbox",
                                        "subscription"};
    ot_buffer_clear(&cli->same);
    for (size_t i = 0; i < OT_COUNT(names); i++) {
        const char *value = ot_cli_get(cli, names[i]);
        if (value == NULL)
            continue;
        ot_buffer_printf(&cli->same, " --%s ", names[i]);
        if (i == 1)
            add_url(&cli->same, value);
        else
            add_quoted(&cli->same, value);
    }
    return cli->same.p != NULL && !cli->same.failed ? cli->same.p : "";
}

const char *ot_cli_sink_hint(const struct ot_cli *cli)
{
    return ot_conf_is_set(cli->conf, "sink.url") ? "" : " --sink URL";
}

/* check has to look at the sink as well. */
static const char *same_for(struct ot_cli *cli, const char *verb)
{
    const char *same = ot_cli_same(cli);
    const char *sink = ot_cli_get(cli, "sink");
    if (sink == NULL || strcmp(verb, "check") != 0)
        return same;
    ot_buffer_puts(&cli->same, " --sink ");
    add_url(&cli->same, sink);
    return cli->same.failed ? "" : cli->same.p;
}

static const char *command_for(int code)
{
    switch (code) {
    case OUTTRAY_E_STORE_NO_SCHEMA:
        return "init";
    case OUTTRAY_E_STORE_VERSION:
        return "upgrade --check";
    case OUTTRAY_E_STORE_UNAVAILABLE:
    case OUTTRAY_E_SINK_UNAVAILABLE:
    case OUTTRAY_E_SINK_MISCONFIGURED:
        return "check";
    case OUTTRAY_E_STORE_CONDITION:
    case OUTTRAY_E_STORE_BEHIND:
        return "doctor";
    case OUTTRAY_E_LEASE_HELD:
        return "status";
    default:
        return NULL;
    }
}

static const char *text_for(int code)
{
    switch (code) {
    case OUTTRAY_E_CONF:
        return "outtray conf (every key with its value)";
    case OUTTRAY_E_STORE_AUTH:
        return "the user in the URL, and its password in ~/.pgpass or in "
               "OUTTRAY_STORE_URL";
    case OUTTRAY_E_STORE_STANDBY:
        return "the primary in --store (or both hosts and "
               "?target_session_attrs=read-write)";
    case OUTTRAY_E_STORE_PERMISSION:
        return "outtray init --app-role ROLE --relay-role ROLE, as the owner "
               "of the outbox";
    case OUTTRAY_E_STORE_BUSY:
        return "the same again in a moment";
    default:
        return NULL;
    }
}

/* A file has no roles. */
static bool on_file(const struct ot_cli *cli)
{
    const char *url =
        cli->conf != NULL && ot_conf_is_set(cli->conf, "store.url")
            ? ot_conf_secret(cli->conf, "store.url")
            : "";

    return strncmp(url, "sqlite:", 7) == 0;
}

static bool is_demo(const struct ot_cli *cli)
{
    return cli->verb != NULL && strcmp(cli->verb->name, "demo") == 0;
}

void ot_cli_usual_fix(struct ot_cli *cli, int code, char *out, size_t size)
{
    const char *verb = command_for(code);
    const char *text = code == OUTTRAY_E_STORE_PERMISSION && on_file(cli)
                           ? "chmod or chown the file and its folder"
                           : text_for(code);
    /* An outbox cannot be made in it yet, and the demo makes its own. */
    if (code == OUTTRAY_E_STORE_NO_SCHEMA &&
        (strcmp(cli->err.sqlstate, "3D000") == 0 || is_demo(cli)))
        return;
    if (text != NULL)
        snprintf(out, size, "%s", text);
    else if (verb != NULL && cli->verb != NULL &&
             strncmp(cli->verb->name, verb, strlen(cli->verb->name)) != 0)
        snprintf(out, size, "outtray %s%s", verb, same_for(cli, verb));
}
