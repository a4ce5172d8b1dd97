/* fuzz_arguments.c - a command line, a word a line. Nothing is run. */
#include "cli/cli.h"
#include "input.h"

enum { WORDS = 40 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct ot_cli cli = {0};
    char *argv[WORDS + 1] = {"outtray"};
    int argc = 1;
    size_t n;

    while (in.n > 0 && argc < WORDS)
        argv[argc++] = take_line(&in, &n);
    cli.conf = outtray_conf_new();
    if (ot_cli_parse(&cli, argc, argv) != 0) {
        CHECK(cli.err.code != 0 && cli.err.text[0] != '\0');
    } else {
        int64_t us, i;

        (void)ot_cli_has(&cli, "json");
        (void)ot_cli_get_us(&cli, "timeout", 1, &us);
        (void)ot_cli_get_int(&cli, "watch", 0, 1, 10, &i);
        CHECK(cli.nargs < argc);
    }
    for (size_t i = 0; i < cli.nset; i++)
        ot_free(cli.set[i].name);
    ot_free(cli.given);
    ot_free(cli.set);
    ot_free(cli.args);
    ot_buffer_free(&cli.same);
    outtray_conf_free(cli.conf);
    for (int i = 1; i < argc; i++)
        free(argv[i]);
    return 0;
}
