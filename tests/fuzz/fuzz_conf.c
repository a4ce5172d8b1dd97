/* fuzz_conf.c - a configuration file, and one setting after the other. */
#define _GNU_SOURCE /* memfd_create */
#include <sys/mman.h>
#include <unistd.h>

#include "conf/conf.h"
#include "input.h"

static void load_file(struct outtray_conf *conf, const uint8_t *data, size_t n)
{
    struct outtray_error err = {0};
    char path[40];
    int fd = memfd_create("conf", 0);

    CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (outtray_conf_load_file(conf, path, &err) != 0)
        CHECK(err.code != 0 && err.text[0] != '\0');
    close(fd);
}

/* What was set is what is there, whatever its form. */
static void set_lines(struct outtray_conf *conf, struct input in)
{
    while (in.n > 0) {
        struct outtray_error err = {0};
        size_t n;
        char *line = take_line(&in, &n), *value = strchr(line, '=');

        if (value != NULL) {
            *value++ = '\0';
            if (outtray_conf_set(conf, line, value, &err) == 0)
                CHECK(value[0] == '\0' || outtray_conf_get(conf, line) != NULL);
            else
                CHECK(err.code != 0 && err.text[0] != '\0');
        }
        free(line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct outtray_conf *conf = outtray_conf_new(), *copy;

    CHECK(conf != NULL);
    load_file(conf, data, size);
    set_lines(conf, (struct input){data, size});
    (void)outtray_conf_check(conf, NULL);
    copy = outtray_conf_copy(conf);
    for (size_t i = 0; i < ot_conf_count(); i++) {
        const char *name = ot_conf_key_at(i)->name;
        const char *a = outtray_conf_get(conf, name);
        const char *b = outtray_conf_get(copy, name);

        CHECK(a == b || (a != NULL && b != NULL && strcmp(a, b) == 0));
    }
    outtray_conf_free(copy);
    outtray_conf_free(conf);
    return 0;
}
