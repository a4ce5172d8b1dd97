/* help.c - help on a terminal. */
#include "cli/help.h"

#include <stdio.h>

const int ot_help_usual_codes[] = {OT_USUAL_CODES, 0};

static const int all_codes[] = {
#define OUTTRAY_ERROR(name, code, cls, retryable, exit, text) code,
#include "outtray/error.def"
#undef OUTTRAY_ERROR
    0,
};

void ot_help_exits(struct ot_cli *cli, const int *codes, ot_exit_fn *each)
{
    codes = codes != NULL ? codes : all_codes;
    for (int status = 1; status < 256; status++) {
        struct ot_buffer texts = {0};
        for (size_t i = 0; codes[i] != 0; i++) {
            if (outtray_error_exit(codes[i]) != status)
                continue;
            if (texts.n > 0)
                ot_buffer_puts(&texts, "; ");
            ot_buffer_puts(&texts, outtray_error_text(codes[i]));
        }
        if (texts.n > 0 && !texts.failed)
            each(cli, status, texts.p);
        ot_buffer_free(&texts);
    }
}

/* Words of text, wrapped; every line starts with `indent` spaces, the first
 * one goes on at column `at`. A text with line ends of its own is for people
 * who set them: paragraphs are separated by an empty line. */
static void wrap(struct ot_cli *cli, const char *text, int indent, int at)
{
    int width = cli->term.width > 100 ? 100 : cli->term.width;
    bool first = true;
    while (*text != '\0') {
        if (text[0] == '\n' && text[1] == '\n') {
            ot_out(cli, "\n\n%*s", indent, "");
            at = indent;
            first = true;
            text += 2;
            continue;
        }
        if (*text == ' ' || *text == '\n') {
            text++;
            continue;
        }
        int n = (int)strcspn(text, " \n");
        if (!first && at + 1 + n > width) {
            ot_out(cli, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        ot_out(cli, "%s%.*s", first ? "" : " ", n, text);
        at += n + (first ? 0 : 1);
        first = false;
        text += n;
    }
    ot_out(cli, "\n");
}

static void heading(struct ot_cli *cli, const char *text)
{
    bool on = cli->term.out_color;
    ot_out(cli, "\n%s%s%s\n", ot_term_color(on, OT_BOLD), text,
           ot_term_color(on, OT_PLAIN));
}

static void print_options(struct ot_cli *cli,
                          const struct ot_cli_option *options)
{
    enum { COLUMN = 28 };
    for (; options != NULL && options->name != NULL; options++) {
        char left[80];
        char letter[8] = "    ";
        if (options->letter != 0)
            snprintf(letter, sizeof letter, "-%c, ", options->letter);
        int n = snprintf(left, sizeof left, "  %s--%s%s%s", letter,
                         options->name, options->value != NULL ? " " : "",
                         options->value != NULL ? options->value : "");
        ot_out(cli, "%-*s", COLUMN - 2, left);
        if (n > COLUMN - 3)
            ot_out(cli, "\n%*s", COLUMN - 2, "");
        ot_out(cli, "  ");
        wrap(cli, options->doc, COLUMN, COLUMN);
    }
}

static void print_lines(struct ot_cli *cli, const char *text)
{
    while (*text != '\0') {
        int n = (int)strcspn(text, "\n");
        ot_out(cli, "  %.*s\n", n, text);
        text += n + (text[n] == '\n');
    }
}

static void print_exit(struct ot_cli *cli, int status, const char *texts)
{
    ot_out(cli, "  %3d  ", status);
    wrap(cli, texts, 7, 7);
}

void ot_help_overview(struct ot_cli *cli)
{
    ot_out(cli,
           "outtray %s: events commit with your data, then reach your "
           "broker\n",
           outtray_version());
    ot_out(cli, "\nusage: outtray VERB [OPTION]... [ARGUMENT]...\n");
    for (size_t i = 0; ot_cli_verbs[i] != NULL; i++) {
        const struct ot_cli_verb *verb = ot_cli_verbs[i];
        if (verb->flags & OT_CLI_HIDDEN)
            continue;
        if (verb->group != NULL)
            heading(cli, verb->group);
        ot_out(cli, "  %-11s", verb->name);
        wrap(cli, verb->summary, 13, 13);
    }
    heading(cli, "options of every verb");
    print_options(cli, ot_cli_global_options);
    ot_out(cli, "\n");
    wrap(cli,
         "Every key of the configuration is an option too (--relay.ordering "
         "strict). Later sources win: one file (--config, else "
         "$OUTTRAY_CONFIG, else outtray.ini here, else /etc/outtray.ini), "
         "then the environment (OUTTRAY_STORE_URL for store.url), then "
         "options.",
         0, 0);
    ot_out(cli, "\nouttray help VERB says more; outtray conf lists the "
                "configuration.\n");
}

void ot_help_verb(struct ot_cli *cli, const struct ot_cli_verb *verb)
{
    ot_out(cli, "outtray %s: ", verb->name);
    wrap(cli, verb->summary, 2, 11 + (int)strlen(verb->name));
    ot_out(cli, "\nusage: outtray %s%s%s%s\n\n", verb->name,
           verb->options != NULL ? " [OPTION]..." : "",
           verb->usage != NULL ? " " : "",
           verb->usage != NULL ? verb->usage : "");
    wrap(cli, verb->purpose, 0, 0);
    if (verb->options != NULL) {
        heading(cli, "options");
        print_options(cli, verb->options);
    }
    heading(cli, "options of every verb");
    print_options(cli, ot_cli_global_options);
    heading(cli, "example");
    print_lines(cli, verb->example);
    heading(cli, "exit status");
    ot_out(cli, "    0  done\n");
    ot_help_exits(cli, verb->codes != NULL ? verb->codes : ot_help_usual_codes,
                  print_exit);
}
