/* cli.h - the command line: what a verb is, and what it is given.
 *
 * A verb lives in a file of its own (verb_NAME.c) and describes itself in one
 * struct ot_cli_verb; help, the manual page and docs/cli.md come from there.
 * The only part of the library that prints.
 */
#ifndef OT_CLI_H
#define OT_CLI_H

#include <jansson.h>

#include "base/base.h"
#include "cli/term.h"
#include "conf/conf.h"
#include "store/admin.h"

/* One option of a verb, or of all. Lists end with name NULL. */
struct ot_cli_option {
    const char *name;  /* without its "--" */
    char letter;       /* the short form; 0: none */
    const char *value; /* what its value is called, "N"; NULL: a flag */
    const char *doc;   /* half a sentence, no full stop */
};

enum ot_cli_verb_flags {
    OT_CLI_HIDDEN = 1,  /* not in the overview */
    OT_CLI_NO_CONF = 2, /* reads no configuration: file and environment cannot
                           make it fail */
};

struct ot_cli;

/* What a verb that opens the store may end with, besides its own codes. */
#define OT_USUAL_CODES                                             \
    OUTTRAY_E_MISUSE, OUTTRAY_E_CONF, OUTTRAY_E_STORE_UNAVAILABLE, \
        OUTTRAY_E_STORE_AUTH, OUTTRAY_E_STORE_NO_SCHEMA

struct ot_cli_verb {
    const char *name;
    const char *group;   /* heading in the overview; NULL: as the one before */
    const char *summary; /* one line for the overview, no full stop */
    const char *usage;   /* arguments after the options: "ID|SEQ" */
    const char *purpose; /* paragraphs separated by empty lines */
    const struct ot_cli_option *options; /* its own; NULL: none */
    const char *example;                 /* lines to type */
    const int *codes; /* OUTTRAY_E_… it may end with, 0 ends; NULL: the usual */
    unsigned flags;   /* enum ot_cli_verb_flags */

    /* Options are parsed and the configuration is loaded; argv has what is
     * left (argv[0] is the first argument after the verb's name). Returns 0, or
     * a negative OUTTRAY_E_… with cli->err filled, which the caller prints with
     * its fix, or a positive exit status if it has said everything itself. */
    int (*run)(struct ot_cli *, int argc, char **argv);
};

/* An option that was given; value "" for a flag. */
struct ot_cli_given {
    const struct ot_cli_option *option;
    const char *value;
};

/* A key of the configuration that an option sets. */
struct ot_cli_setting {
    char *name;
    const char *value;
};

struct ot_cli {
    const struct ot_cli_verb *verb; /* NULL: none was recognised */
    struct outtray_conf *conf;
    char conf_file[512]; /* that was read; "": none */
    struct ot_term term;
    bool json;  /* objects on standard output, nothing for people */
    bool quiet; /* no hints, no progress */
    bool verbose;
    struct outtray_error err;
    char fix[512];          /* the next thing to type after err; "": by code */
    struct ot_admin *admin; /* opened by ot_cli_admin */
    struct ot_patience patience;
    bool waits;            /* it has been told */
    int out_error;         /* errno of standard output; 0: fine */
    bool progress;         /* there is a progress line on the terminal */
    struct ot_buffer same; /* of ot_cli_same */
    struct ot_cli_given *given;
    size_t ngiven;
    struct ot_cli_setting *set;
    size_t nset;
    char **args; /* what is neither an option nor the verb */
    int nargs;
};

/* --- verbs --------------------------------------------------------------- */

/* In the order of the overview; NULL ends. */
extern const struct ot_cli_verb *const ot_cli_verbs[];
const struct ot_cli_verb *ot_cli_verb_find(const char *name);
/* The name of the verb that was probably meant; NULL: none is near. */
const char *ot_cli_verb_near(const char *typed);

extern const struct ot_cli_verb ot_cli_verb_init;
extern const struct ot_cli_verb ot_cli_verb_upgrade;
extern const struct ot_cli_verb ot_cli_verb_drop;
extern const struct ot_cli_verb ot_cli_verb_check;
extern const struct ot_cli_verb ot_cli_verb_doctor;
extern const struct ot_cli_verb ot_cli_verb_status;
extern const struct ot_cli_verb ot_cli_verb_relay;
extern const struct ot_cli_verb ot_cli_verb_enqueue;
extern const struct ot_cli_verb ot_cli_verb_show;
extern const struct ot_cli_verb ot_cli_verb_explain;
extern const struct ot_cli_verb ot_cli_verb_tail;
extern const struct ot_cli_verb ot_cli_verb_dead;
extern const struct ot_cli_verb ot_cli_verb_redrive;
extern const struct ot_cli_verb ot_cli_verb_skip;
extern const struct ot_cli_verb ot_cli_verb_pause;
extern const struct ot_cli_verb ot_cli_verb_resume;
extern const struct ot_cli_verb ot_cli_verb_prune;
extern const struct ot_cli_verb ot_cli_verb_reconcile;
extern const struct ot_cli_verb ot_cli_verb_conf;
extern const struct ot_cli_verb ot_cli_verb_demo;
extern const struct ot_cli_verb ot_cli_verb_help;
extern const struct ot_cli_verb ot_cli_verb_version;

/* --- options (options.c) ------------------------------------------------- */

extern const struct ot_cli_option ot_cli_global_options[];

/* The value of an option of the verb: the last one given; "" for a flag; NULL:
 * not given. */
const char *ot_cli_get(const struct ot_cli *, const char *name);
bool ot_cli_has(const struct ot_cli *, const char *name);
/* The i-th of an option that may be repeated; NULL: there are no more. */
const char *ot_cli_get_nth(const struct ot_cli *, const char *name, size_t i);
/* A whole number in [min, max]; *out is fallback if the option is not given.
 * 0 or E_MISUSE. */
int ot_cli_get_int(struct ot_cli *, const char *name, int64_t fallback,
                   int64_t min, int64_t max, int64_t *out);
/* "90s", "5m", "24h", "7d"; likewise, in microseconds. */
int ot_cli_get_us(struct ot_cli *, const char *name, int64_t fallback,
                  int64_t *out);

/* Sort argv (argv[0] is the program) into the verb, its options, configuration
 * and arguments. 0 or a code with cli->err and cli->fix. */
int ot_cli_parse(struct ot_cli *, int argc, char **argv);
/* The configuration: one file, then the environment, then the options. */
int ot_cli_load_conf(struct ot_cli *);
/* Did an option set this key of the configuration? */
bool ot_cli_sets(const struct ot_cli *, const char *key);

/* The nearest of names (NULL ends) to a mistyped one; NULL: none is near. */
const char *ot_cli_nearest(const char *typed, const char *const *names);

/* --- errors -------------------------------------------------------------- */

/* E_MISUSE: "there is no FILE …"; the fix is the verb's --help. */
int ot_cli_misuse(struct ot_cli *, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
/* Sets cli->fix. */
void ot_cli_fix(struct ot_cli *, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
/* Prints "outtray: VERB: text" and "try: …" of cli->err. */
void ot_cli_print_error(struct ot_cli *, int code);
/* While the verb goes on: what it waits for, and what would help (NULL: nothing
 * is known to). */
void ot_cli_tell(struct ot_cli *, const char *text, const char *fix);
/* Refuses more or fewer arguments; max -1: any number. */
int ot_cli_args(struct ot_cli *, int argc, int min, int max);
/* The usual fix of a code; writes nothing if there is none. */
void ot_cli_usual_fix(struct ot_cli *, int code, char *out, size_t size);
/* " --store URL --outbox NAME", as far as they were typed, so that a hint can
 * be typed as it stands. In cli's own memory; valid until the next call. */
const char *ot_cli_same(struct ot_cli *);
/* " --sink URL" if no sink is configured, else "". */
const char *ot_cli_sink_hint(const struct ot_cli *);

/* --- the store ----------------------------------------------------------- */

/* Opens cli->admin once; the dispatcher closes it. */
int ot_cli_admin(struct ot_cli *);
/* The store's URL without its password. Free with ot_free; NULL: no memory. */
char *ot_cli_url_text(struct ot_cli *, const char *key);

/* --- output (output.c) --------------------------------------------------- */

/* To standard output. After it failed (a closed pipe), nothing is written any
 * more: long listings ask ot_cli_out_ok and stop. */
void ot_out(struct ot_cli *, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
void ot_out_bytes(struct ot_cli *, const void *p, size_t n);
/* Data of others: control characters as \xNN, so that no event can drive the
 * terminal. */
void ot_out_safe(struct ot_cli *, struct ot_slice text);
void ot_add_safe(struct ot_buffer *, struct ot_slice text);
/* One line of JSON; takes the reference (NULL: E_NOMEM is remembered). */
void ot_out_json(struct ot_cli *, json_t *stolen);
bool ot_cli_out_ok(const struct ot_cli *);
/* Flush; a failure other than a closed pipe is E_IO. */
int ot_cli_out_end(struct ot_cli *);

/* For people, on standard error, not with --quiet or --json. */
void ot_say(struct ot_cli *, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
/* What to type next: only on a terminal. */
void ot_next(struct ot_cli *, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
/* A line that is replaced by the next one: only on a terminal. */
void ot_progress(struct ot_cli *, const char *fmt, ...) OUTTRAY_PRINTF(2, 3);
void ot_progress_end(struct ot_cli *);

/* A JSON string of borrowed text (null if absent), also if it is not UTF-8. */
json_t *ot_json_text(struct ot_slice text);
json_t *ot_json_time(int64_t wall_us); /* null for 0 */
/* 1234567 as "1,234,567"; returns out. */
char *ot_number_text(int64_t n, char out[32]);
/* "event" or "events". */
const char *ot_events_word(int64_t n);

#endif
