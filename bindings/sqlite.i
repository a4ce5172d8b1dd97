/* sqlite.i - which copy of SQLite is used. */
outtray_rc outtray_sqlite_use_loaded(const char *path,
                                     struct outtray_error *err);
outtray_rc outtray_sqlite_lock_test(const char *scratch_path,
                                    struct outtray_error *err);
