/* verbs.c - every verb, in the order of the overview. */
#include "cli/cli.h"

/* One a line: the order is what people see. */
/* clang-format off */
const struct ot_cli_verb *const ot_cli_verbs[] = {
    &ot_cli_verb_demo,
    &ot_cli_verb_init,
    &ot_cli_verb_upgrade,
    &ot_cli_verb_drop,
    &ot_cli_verb_check,
    &ot_cli_verb_doctor,
    &ot_cli_verb_conf,
    &ot_cli_verb_enqueue,
    &ot_cli_verb_relay,
    &ot_cli_verb_status,
    &ot_cli_verb_show,
    &ot_cli_verb_explain,
    &ot_cli_verb_tail,
    &ot_cli_verb_dead,
    &ot_cli_verb_redrive,
    &ot_cli_verb_skip,
    &ot_cli_verb_pause,
    &ot_cli_verb_resume,
    &ot_cli_verb_reconcile,
    &ot_cli_verb_prune,
    &ot_cli_verb_help,
    &ot_cli_verb_version,
    NULL,
};
/* clang-format on */
