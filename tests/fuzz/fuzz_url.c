/* fuzz_url.c - URLs: a password is never printed, and what is printed is a URL
 * of the same place. */
#include "conf/conf.h"
#include "input.h"

/* Does the password stand in what may be printed, by chance? */
static bool is_innocent(const struct ot_url *url)
{
    const char *user = url->user != NULL ? url->user : "";
    size_t size = strlen(url->scheme) + strlen(user) + strlen(url->hosts) +
                  strlen(url->path) + 16;
    char *text = malloc(size);
    bool there;

    CHECK(text != NULL);
    snprintf(text, size, "%s://%s:***@%s%s", url->scheme, user, url->hosts,
             url->path);
    there = strstr(text, url->password) != NULL;
    free(text);
    return there;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    char *text = take_rest(&in);
    struct ot_url url, again;
    struct outtray_error err = {0};
    struct ot_buffer printed = {0};

    ot_url_print(text, &printed);
    if (ot_url_parse(text, &url, &err) != 0) {
        CHECK(err.code != 0 && err.text[0] != '\0');
    } else {
        (void)ot_hosts_loopback(url.hosts);
        (void)ot_url_param(&url, "sslmode");
        if (ot_url_parse(printed.p, &again, &err) == 0) {
            CHECK(strcmp(url.scheme, again.scheme) == 0);
            CHECK(strcmp(url.hosts, again.hosts) == 0);
            CHECK(again.password == NULL || url.password != NULL);
            ot_url_free(&again);
        }
        if (url.password != NULL && strlen(url.password) > 8)
            CHECK(strstr(printed.p, url.password) == NULL || is_innocent(&url));
        ot_url_free(&url);
    }
    ot_buffer_free(&printed);
    free(text);
    return 0;
}
