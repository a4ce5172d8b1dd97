/* peak_memory.h - the most memory that was in use at a time, by whatever
 * library allocated it. Read by one test file of each program.
 *
 * With the address sanitizer every allocation is counted, because it keeps
 * what was freed for a while; without it, the kernel's count of the process. */
#ifndef TESTS_PEAK_MEMORY_H
#define TESTS_PEAK_MEMORY_H

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
/* Of <sanitizer/allocator_interface.h>, which not every compiler brings. */
int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *,
                                                       size_t),
                                              void (*)(const volatile void *));
size_t __sanitizer_get_allocated_size(const volatile void *);

static size_t memory_now, memory_most;

static inline void memory_taken(const volatile void *p, size_t n)
{
    (void)p;
    memory_now += n;
    if (memory_now > memory_most)
        memory_most = memory_now;
}

static inline void memory_given_back(const volatile void *p)
{
    size_t n = __sanitizer_get_allocated_size(p);

    memory_now -= n < memory_now ? n : memory_now;
}

/* From here on; what is in use now does not count. */
static inline void peak_memory_start(void)
{
    static int hooked;

    if (!hooked)
        hooked = __sanitizer_install_malloc_and_free_hooks(memory_taken,
                                                           memory_given_back);
    memory_now = memory_most = 0;
}

static inline size_t peak_memory(void)
{
    return memory_most;
}

#else
#include <stdio.h>
#include <string.h>

static size_t memory_before;

static inline size_t memory_line(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[200];
    size_t kb = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            sscanf(line + strlen(name), ": %zu", &kb);
    if (file != NULL)
        fclose(file);
    return kb * 1024;
}

static inline void peak_memory_start(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");

    if (file != NULL) {
        fputs("5", file);
        fclose(file);
    }
    memory_before = memory_line("VmRSS");
}

static inline size_t peak_memory(void)
{
    return memory_line("VmHWM") - memory_before;
}
#endif

#endif
