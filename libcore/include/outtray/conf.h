/** @file conf.h - every setting of the relay and the command line.
 *
 * One table (`outtray conf` prints it) has name, type, unit, range, default
 * and meaning; parsing, validation, the dump and docs/configuration.md come
 * from it. A later source wins: file, then environment, then options.
 */
#ifndef OUTTRAY_CONF_H
#define OUTTRAY_CONF_H

#include "types.h"
#include "error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct outtray_conf;

/** A configuration with every default. NULL: out of memory. */
OUTTRAY_API struct outtray_conf *outtray_conf_new(void);
OUTTRAY_API void outtray_conf_free(struct outtray_conf *);
OUTTRAY_API struct outtray_conf *outtray_conf_copy(const struct outtray_conf *);

/**
 * Set one key from text; "" goes back to the default. A value "env:NAME" or
 * "file:PATH" of a secret key is read from there (file:// is the URL of a file
 * sink). "kafka.NAME" goes to librdkafka as NAME.
 * @return 0 or OUTTRAY_E_CONF: an unknown key (err has the nearest name), a
 *         value that does not parse or is out of range (err has the range)
 */
OUTTRAY_API int outtray_conf_set(struct outtray_conf *, const char *name,
                                 const char *value, struct outtray_error *err);

/** Read an INI file; [section] key = value sets section.key. err names file and
 * line. */
OUTTRAY_API int outtray_conf_load_file(struct outtray_conf *, const char *path,
                                       struct outtray_error *err);

/** Read OUTTRAY_SECTION_KEY of the environment for every key, and
 * OUTTRAY_KAFKA_LINGER_MS as kafka.linger.ms; empty ones count as not set. An
 * unknown OUTTRAY_… is an error, unless it is OUTTRAY_CONFIG (the path of the
 * file), begins with OUTTRAY_TEST_, or comes from Kubernetes
 * (OUTTRAY_SERVICE_…, OUTTRAY_PORT…). */
OUTTRAY_API int outtray_conf_load_env(struct outtray_conf *,
                                      struct outtray_error *err);

/** The text of a key, or of its default; NULL: unknown or not set. Secrets
 * come as "***". The pointer is valid until the key is set again. */
OUTTRAY_API const char *outtray_conf_get(const struct outtray_conf *,
                                         const char *name);

/** Rules that span keys. Called by whoever opens something with it. */
OUTTRAY_API int outtray_conf_check(const struct outtray_conf *,
                                   struct outtray_error *err);

#ifdef __cplusplus
}
#endif
#endif
