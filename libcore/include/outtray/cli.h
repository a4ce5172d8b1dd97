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
 * @thread one at a time in a process
 */
OUTTRAY_API int outtray_cli_main(int argc, char **argv);

#ifdef __cplusplus
}
#endif
#endif
