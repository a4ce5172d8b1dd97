/** @file conf.h - every setting of the relay and the command line.
 *
 * One table (`outtray conf` prints it) has name, type, unit, range, default
 * and meaning; parsing, validation, the dump and docs/configuration.md come
 * from it. A later source wins: file, then environment, then options.
 *
 * **Threads.** Any; while one changes a configuration, no other may use it.
 * Setting, loading and checking read the environment: nobody may change it
 * meanwhile.
 */
#ifndef OUTTRAY_CONF_H
#define OUTTRAY_CONF_H

#include "types.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct outtray_conf;

/** A configuration with every default, to be freed with outtray_conf_free.
 * @return NULL: out of memory
 * @thread any */
OUTTRAY_API struct outtray_conf *outtray_conf_new(void);

/** Free it, with every text that outtray_conf_get gave. What was opened with it
 * has a copy. NULL is fine.
 * @thread any, but nobody else may use it meanwhile or later */
OUTTRAY_API void outtray_conf_free(struct outtray_conf *);

/** One of its own with the same settings, to be freed with outtray_conf_free;
 * secrets are copied as they were read. NULL is not fine.
 * @return NULL: out of memory
 * @thread any, as long as nobody changes the original meanwhile */
OUTTRAY_API struct outtray_conf *outtray_conf_copy(const struct outtray_conf *);

/**
 * Set one key from text; "" goes back to the default. A value "env:NAME" or
 * "file:PATH" of a secret key is read from there (file:// is the URL of a file
 * sink). "kafka.NAME" goes to librdkafka as NAME; "" takes it back.
 * @return 0 or OUTTRAY_E_CONF: an unknown key (err has the nearest name), a
 *         value that does not parse or is out of range (err has the range),
 *         a secret that cannot be read; OUTTRAY_E_NOMEM. The key keeps its
 *         value then.
 * @thread any, but nobody else may use it meanwhile
 */
OUTTRAY_API int outtray_conf_set(struct outtray_conf *, const char *name,
                                 const char *value, struct outtray_error *err);

/** Read an INI file; [section] key = value sets section.key.
 * @return 0; OUTTRAY_E_CONF: the file cannot be read, or a line is wrong (err
 *         names file and line); OUTTRAY_E_NOMEM. Others of its settings may
 *         be set then.
 * @thread as outtray_conf_set */
OUTTRAY_API int outtray_conf_load_file(struct outtray_conf *, const char *path,
                                       struct outtray_error *err);

/** Read OUTTRAY_SECTION_KEY of the environment for every key, and
 * OUTTRAY_KAFKA_LINGER_MS as kafka.linger.ms; empty ones count as not set. An
 * unknown OUTTRAY_… is an error, unless it is OUTTRAY_CONFIG (the path of the
 * file), begins with OUTTRAY_TEST_, or comes from Kubernetes
 * (OUTTRAY_SERVICE_…, OUTTRAY_PORT…).
 * @return 0 or as outtray_conf_set (err names the variable). Others may be set
 *         then.
 * @thread as outtray_conf_set */
OUTTRAY_API int outtray_conf_load_env(struct outtray_conf *,
                                      struct outtray_error *err);

/** The text of a key, or of its default; NULL: unknown or not set. Secrets
 * come as "***". The pointer is valid until the key is set again or the
 * configuration is freed.
 * @thread any, as long as nobody changes it meanwhile */
OUTTRAY_API const char *outtray_conf_get(const struct outtray_conf *,
                                         const char *name);

/** Rules that span keys. Called by whoever opens something with it.
 * @return 0; OUTTRAY_E_CONF (err names the keys), _URL, _NOMEM
 * @thread as outtray_conf_get */
OUTTRAY_API int outtray_conf_check(const struct outtray_conf *,
                                   struct outtray_error *err);

#ifdef __cplusplus
}
#endif
#endif
