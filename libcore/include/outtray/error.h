/** @file error.h - how the library says what went wrong.
 *
 * A fallible function returns 0 or one of the negative codes below, and fills
 * a struct outtray_error that the caller supplies (NULL: the code is enough).
 * There is no hidden last error: nothing is lost when a call hops threads.
 */
#ifndef OUTTRAY_ERROR_H
#define OUTTRAY_ERROR_H

#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

enum outtray_error_code {
    OUTTRAY_OK = 0,
#define OUTTRAY_ERROR(name, code, cls, retryable, exit, text) \
    OUTTRAY_E_##name = code,
#include "error.def"
#undef OUTTRAY_ERROR
};

/** What failed, for a program and for a person. */
struct outtray_error {
    int code;         /**< enum outtray_error_code */
    char sqlstate[6]; /**< of the database, or "" */
    int native;       /**< the client library's own code, or 0 */
    char text[512];   /**< what failed, which object, what to do; UTF-8 */
};

/** "STORE_UNAVAILABLE" for OUTTRAY_E_STORE_UNAVAILABLE; never NULL.
 * @thread any */
OUTTRAY_API const char *outtray_error_name(int code);

/** One sentence for a code; never NULL. @thread any */
OUTTRAY_API const char *outtray_error_text(int code);

/** "CONFIG", "STORE", …; never NULL. @thread any */
OUTTRAY_API const char *outtray_error_class(int code);

/** May the same call succeed later, with nobody changing anything?
 * @thread any */
OUTTRAY_API bool outtray_error_retryable(int code);

/** The exit status of the command line for a code. @thread any */
OUTTRAY_API int outtray_error_exit(int code);

#ifdef __cplusplus
}
#endif
#endif
