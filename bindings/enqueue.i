/* enqueue.i - events become a statement.
 *
 * The type maps of a language make the array of events, and turn the statement
 * into (sql, parameters, ids) before outtray_statement_free. */
enum outtray_style {
    OUTTRAY_DOLLAR,
    OUTTRAY_PERCENT,
    OUTTRAY_QMARK,
    OUTTRAY_LITERAL,
    OUTTRAY_COPY,
};

enum outtray_dialect {
    OUTTRAY_POSTGRESQL,
    OUTTRAY_SQLITE,
};

/* What is the same for all events; made once. */
struct outtray_enqueue_options {
    %extend {
        outtray_enqueue_options(const char *outbox, int style, int dialect,
                                bool strict, size_t max_payload_bytes,
                                size_t max_headers_bytes)
        {
            size_t n = strlen(outbox) + 1;
            struct outtray_enqueue_options *options =
                calloc(1, sizeof(*options) + n);

            if (options == NULL)
                return NULL;
            options->outbox = memcpy(options + 1, outbox, n);
            options->style = (enum outtray_style)style;
            options->dialect = (enum outtray_dialect)dialect;
            options->strict = strict;
            options->max_payload_bytes = max_payload_bytes;
            options->max_headers_bytes = max_headers_bytes;
            return options;
        }
        ~outtray_enqueue_options()
        {
            free($self);
        }
    }
};

outtray_rc outtray_enqueue_build(struct outtray_statement *out,
                                 const struct outtray_enqueue_options *options,
                                 const struct outtray_event *events, size_t n,
                                 struct outtray_error *err);

outtray_rc outtray_id_new(char out[37]);
