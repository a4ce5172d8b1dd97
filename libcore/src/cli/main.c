/* main.c - the program is the library's command line. */
#include "outtray/cli.h"

int main(int argc, char **argv)
{
    return outtray_cli_main(argc, argv);
}
