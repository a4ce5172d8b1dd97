/* schema.i - the SQL that makes an outbox. */
%newobject outtray_schema_sql;
%typemap(newfree) char *outtray_schema_sql "outtray_schema_free($1);";
%newobject outtray_schema_drop_sql;
%typemap(newfree) char *outtray_schema_drop_sql "outtray_schema_free($1);";
int outtray_schema_version(enum outtray_dialect dialect);
char *outtray_schema_sql(enum outtray_dialect dialect, int number,
                         const char *outbox, struct outtray_error *err);
char *outtray_schema_drop_sql(enum outtray_dialect dialect, const char *outbox,
                              struct outtray_error *err);
