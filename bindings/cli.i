/* cli.i - the command line. */
#if defined(SWIGPYTHON)
%thread outtray_cli_main;
#endif
int outtray_cli_main(int argc, char **argv);
