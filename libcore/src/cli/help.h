/* help.h - what the command line says about itself, from the table of verbs. */
#ifndef OT_CLI_HELP_H
#define OT_CLI_HELP_H

#include "cli/cli.h"

void ot_help_overview(struct ot_cli *);
void ot_help_verb(struct ot_cli *, const struct ot_cli_verb *);
/* docs/outtray.1 and docs/cli.md. */
void ot_help_man(struct ot_cli *);
void ot_help_markdown(struct ot_cli *);
/* Text in a table of markdown: a bar would end the cell. */
void ot_md_cell(struct ot_cli *, const char *text);

/* Each exit status of a verb with the texts of its errors, ascending, without
 * 0. codes NULL: of all errors. */
typedef void ot_exit_fn(struct ot_cli *, int status, const char *texts);
void ot_help_exits(struct ot_cli *, const int *codes, ot_exit_fn *each);
/* What a verb documents if it says nothing itself. */
extern const int ot_help_usual_codes[];

#endif
