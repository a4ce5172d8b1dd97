/* lateness.h - promised times, as lateness.py judges them: the promise and, on
 * top, the time in which something here waited for a processor or a disk. On an
 * idle machine that is nothing. */
#ifndef LATENESS_H
#define LATENESS_H

#include <stdio.h>
#include <string.h>

#include "base/base.h"

struct promise {
    int64_t limit_us, began_us, pressure_us;
};

/* As Linux counts it; 0 where it does not. */
static inline int64_t pressure_us(void)
{
    static const char *const files[] = {"/proc/pressure/cpu",
                                        "/proc/pressure/io"};
    int64_t total_us = 0;

    for (size_t i = 0; i < OT_COUNT(files); i++) {
        char line[200] = "";
        FILE *file = fopen(files[i], "r");

        if (file == NULL)
            continue;
        char *total = fgets(line, sizeof(line), file) != NULL
                          ? strstr(line, "total=")
                          : NULL;
        if (total != NULL)
            total_us += strtoll(total + strlen("total="), NULL, 10);
        fclose(file);
    }
    return total_us;
}

/* It begins now. */
static inline struct promise promise_us(int64_t limit_us)
{
    return (struct promise){limit_us, ot_now_us(), pressure_us()};
}

static inline void promise_kept(const struct promise *p, const char *what)
{
    int64_t took_us = ot_now_us() - p->began_us;
    int64_t late_us = pressure_us() - p->pressure_us;

    if (late_us > took_us / 10 * 9)
        late_us = took_us / 10 * 9;
    if (took_us > p->limit_us + late_us)
        fail_msg("%s took %lld us, %lld of them late", what, (long long)took_us,
                 (long long)late_us);
}

#endif
