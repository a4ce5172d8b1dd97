/* version.c - which library is running. */
#include "base/base.h"

const char *outtray_version(void)
{
    return OUTTRAY_VERSION;
}
