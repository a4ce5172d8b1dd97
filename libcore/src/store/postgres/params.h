/* params.h - from store.url and its companions to a libpq connection. */
#ifndef OT_PG_PARAMS_H
#define OT_PG_PARAMS_H

#include <libpq-fe.h>

#include "conf/conf.h"

/* A setting of a transaction or session: a database in SQL_ASCII looks at no
 * text, and its server refuses to send as UTF-8 what is none. One such key
 * would stop all others. local: "true" or "false". */
#define OT_PG_ENCODING(local)                                        \
    "CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN " \
    "set_config('client_encoding', 'SQL_ASCII', " local ") END"

/* Calls of set_config, separated by commas, that make the server notice within
 * silence_ms that its client is dead, or reads nothing. By its own settings it
 * may take two hours, and keeps locks, snapshot and session until then. They do
 * nothing to a unix socket. local: as above. */
void ot_pg_keepalives(struct ot_buffer *out, int64_t silence_ms,
                      const char *local);

/* Begin to connect, without waiting: go on with PQconnectPoll. Keepalives,
 * tcp_user_timeout, UTF-8 and, where conf asks for it, sslmode=verify-full are
 * set. Errors while connecting are verbose, for ot_pg_fail_connect. libpq goes
 * on to the next of several hosts after a refusal, but not after a time-out of
 * whoever drives it: that one counts attempt up, which says with which host to
 * begin. *nhosts (may be NULL) says how many there are.
 * 0; E_URL, E_NOMEM, E_STORE_UNAVAILABLE; *out is NULL then. */
int ot_pg_connect_start_at(PGconn **out, const struct outtray_conf *conf,
                           unsigned attempt, unsigned *nhosts,
                           struct outtray_error *err);

/* To the very server that a connection leads to, be it a standby; its name is
 * not looked up again. */
int ot_pg_connect_start_like(PGconn **out, const struct outtray_conf *conf,
                             const PGconn *like, struct outtray_error *err);

/* Connect to the end, at most store.connect_timeout_ms for each host that does
 * not answer. */
int ot_pg_connect(PGconn **out, const struct outtray_conf *conf,
                  struct outtray_error *err);

#endif
