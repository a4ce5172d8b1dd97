/* conf.i - settings. */
struct outtray_conf {
    %extend {
        ~outtray_conf()
        {
            outtray_conf_free($self);
        }
    }
};

%newobject outtray_conf_new;
%newobject outtray_conf_copy;
struct outtray_conf *outtray_conf_new(void);
struct outtray_conf *outtray_conf_copy(const struct outtray_conf *conf);
outtray_rc outtray_conf_set(struct outtray_conf *conf, const char *name,
                            const char *value, struct outtray_error *err);
outtray_rc outtray_conf_load_file(struct outtray_conf *conf, const char *path,
                                  struct outtray_error *err);
outtray_rc outtray_conf_load_env(struct outtray_conf *conf,
                                 struct outtray_error *err);
const char *outtray_conf_get(const struct outtray_conf *conf, const char *name);
outtray_rc outtray_conf_check(const struct outtray_conf *conf,
                              struct outtray_error *err);
