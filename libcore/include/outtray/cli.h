/** @file cli.h - the command line as a function, for pip and Lua installs. */
#ifndef OUTTRAY_CLI_H
#define OUTTRAY_CLI_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What `outtray VERB …` does: reads arguments, environment and files, writes to
 * standard output and error, returns the exit status. Signal handlers it
 * installs are restored before it returns.
 *
 * @param argv  argc arguments, the name of the program first; not kept
 * @return 0, or another status that `outtray VERB --help` lists: an error's is
 *         that of outtray_error_exit, and a line on standard error says what
 *         went wrong
 * @thread any, one at a time in a process; a second SIGINT or SIGTERM, and the
 *         first one where there is nothing to finish, ends the process
 */
OUTTRAY_API int outtray_cli_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
