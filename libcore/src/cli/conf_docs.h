/* conf_docs.h - the reference page of the configuration. */
#ifndef OT_CLI_CONF_DOCS_H
#define OT_CLI_CONF_DOCS_H

#include "cli/cli.h"

/* docs/configuration.md; does not depend on what is set. */
void ot_conf_markdown(struct ot_cli *);
/* "OUTTRAY_STORE_URL" for store.url. */
void ot_conf_variable(const char *key, char *out, size_t size);

#endif
