/* conf.h - the configuration, as the rest of the library reads it. */
#ifndef OT_CONF_H
#define OT_CONF_H

#include "base/base.h"
#include "outtray/conf.h"

enum ot_conf_type {
    OT_CONF_TEXT,
    OT_CONF_INT,    /* with range */
    OT_CONF_BOOL,   /* true, false, on, off, yes, no, 1, 0 */
    OT_CONF_CHOICE, /* one of choices */
    OT_CONF_MS,     /* duration, kept in ms; "250", "250ms", "15s", "24h" */
    OT_CONF_BYTES,  /* "4096", "64KiB", "1MiB" */
};

enum ot_conf_flags {
    OT_CONF_SECRET = 1, /* never printed; env: and file: are followed */
};

/* One row of the table: src/conf/keys.def. */
struct ot_conf_key {
    const char *name;
    enum ot_conf_type type;
    const char *fallback; /* as text; NULL: not set */
    int64_t min;
    int64_t max;
    const char *choices; /* "none|key|strict", or NULL */
    unsigned flags;
    const char *doc; /* one or two sentences */
};

/* Number of keys, and the i-th: for `outtray conf` and the reference page. */
size_t ot_conf_count(void);
const struct ot_conf_key *ot_conf_key_at(size_t i);

/* Getters of known keys; an unknown name or another type is a bug (assert). */
const char *ot_conf_text(const struct outtray_conf *, const char *name);
int64_t ot_conf_int(const struct outtray_conf *, const char *name);
bool ot_conf_bool(const struct outtray_conf *, const char *name);
int64_t ot_conf_us(const struct outtray_conf *, const char *name); /* MS key */
/* The value with its secret, for whoever logs in with it. */
const char *ot_conf_secret(const struct outtray_conf *, const char *name);
/* Was the key set by anybody? */
bool ot_conf_is_set(const struct outtray_conf *, const char *name);

/* Every pass-through setting of a prefix ("kafka."), without the prefix. */
typedef int ot_conf_pair_fn(void *ctx, const char *name, const char *value);
int ot_conf_each_passed(const struct outtray_conf *, const char *prefix,
                        ot_conf_pair_fn *each, void *ctx);

/* A limit of one topic, of limit.topic_events_per_s or limit.topic_bytes_per_s;
 * the topic points into the configuration. */
struct ot_conf_rate {
    struct ot_slice topic;
    int64_t per_s;
};
/* Every one of that setting. Stops at the first that is malformed (E_CONF, it
 * is named), or for which each returns a code. each may be NULL. */
typedef int ot_conf_rate_fn(void *ctx, const char *name,
                            struct ot_conf_rate rate,
                            struct outtray_error *err);
int ot_conf_rates(const struct outtray_conf *, const char *name,
                  ot_conf_rate_fn *each, void *ctx, struct outtray_error *err);

/* All of a small file; a NUL inside is refused. Appends to out. */
int ot_conf_read_file(const char *path, size_t max, struct ot_buffer *out,
                      struct outtray_error *err);

/* --- URLs ----------------------------------------------------------------
 * scheme://user:password@host:port,host:port/path?name=value&… with
 * percent-encoding; "stdout:" and "file:///path" have no host. All members
 * point into memory; free with ot_url_free. */
struct ot_url {
    char *scheme;
    char *user;     /* NULL: none */
    char *password; /* NULL: none */
    char *hosts;    /* "a:1,b:2"; "" none */
    char *path;     /* without query, with its leading '/'; "" none */
    struct ot_url_param {
        char *name;
        char *value;
    } * params;
    size_t nparams;
};
int ot_url_parse(const char *text, struct ot_url *out,
                 struct outtray_error *err);
const char *ot_url_param(const struct ot_url *, const char *name);
void ot_url_free(struct ot_url *);
/* The URL without its password, for people. */
void ot_url_print(const char *text, struct ot_buffer *out);
/* Is every host of "a:1,b:2" loopback (or a unix socket path)? */
bool ot_hosts_loopback(const char *hosts);
/* May store.url be connected to? Not in plain text over a network, unless
 * store.tls is off. */
int ot_conf_check_store(const struct outtray_conf *, struct outtray_error *);
/* Must a PostgreSQL store.url that says no sslmode connect with verify-full?
 * (It is not on loopback, and store.tls is not off.) */
bool ot_conf_store_verify(const struct outtray_conf *, const struct ot_url *);

#endif
