/* errors.i - the table of errors, and the version. */
const char *outtray_version(void);
const char *outtray_error_name(int code);
const char *outtray_error_text(int code);
const char *outtray_error_class(int code);
bool outtray_error_retryable(int code);
int outtray_error_exit(int code);
