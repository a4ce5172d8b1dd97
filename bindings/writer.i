/* writer.i - many events into a SQLite file, in one durable transaction. For Lua:
 * a gateway in nginx. */
struct outtray_writer {
    %extend {
        ~outtray_writer()
        {
            outtray_writer_close($self);
        }
    }
};

%newobject writer_open;

%inline %{
struct outtray_writer *writer_open(const char *store, const char *outbox,
                                   int busy_ms, size_t max_payload_bytes,
                                   size_t max_headers_bytes,
                                   struct outtray_error *err)
{
    const struct outtray_writer_options options = {
        store, outbox, busy_ms, max_payload_bytes, max_headers_bytes};
    struct outtray_writer *writer;

    return outtray_writer_open(&writer, &options, err) == 0 ? writer : NULL;
}

/* Each event has its id. */
outtray_rc writer_add(struct outtray_writer *writer,
                      const struct outtray_event *events, size_t n,
                      struct outtray_error *err)
{
    return outtray_writer_add(writer, events, n, NULL, err);
}
%}

outtray_rc outtray_writer_begin(struct outtray_writer *writer,
                                struct outtray_error *err);
outtray_rc outtray_writer_commit(struct outtray_writer *writer,
                                 struct outtray_error *err);
void outtray_writer_rollback(struct outtray_writer *writer);
