/* batch.i - events that the program takes from a relay.
 *
 * A language calls nothing on a batch after batch_close but batch_close. What
 * its type map makes of an event is a copy. */
enum outtray_outcome {
    OUTTRAY_OUTCOME_OK,
    OUTTRAY_OUTCOME_RETRY,
    OUTTRAY_OUTCOME_REJECTED,
    OUTTRAY_OUTCOME_MISCONFIGURED,
    OUTTRAY_OUTCOME_UNAVAILABLE,
    OUTTRAY_OUTCOME_UNKNOWN,
};

struct outtray_taken {
    %extend {
        ~outtray_taken()
        {
            taken_close($self);
            free($self);
        }
    }
};

%newobject relay_take;

%inline %{
/* Nothing: there is none now. */
struct outtray_taken *relay_take(struct outtray_handle *h, size_t max_events,
                                 size_t max_bytes, int linger_ms,
                                 struct outtray_error *err)
{
    struct outtray_batch_limits limits = {max_events, max_bytes, linger_ms};

    return handle_take(h, limits, err);
}

bool relay_scripted(struct outtray_handle *h)
{
    return outtray_relay_scripted(h->relay);
}

bool relay_ready(struct outtray_handle *h)
{
    return h->relay != NULL && outtray_relay_ready(h->relay);
}

size_t batch_size(struct outtray_taken *t)
{
    return outtray_batch_size(t->batch);
}

const struct outtray_batch_event *batch_event(struct outtray_taken *t,
                                              size_t index)
{
    return outtray_batch_event(t->batch, index);
}

/* The index of the next event to deliver; -1: there are no more. */
long batch_next(struct outtray_taken *t)
{
    size_t index;

    return outtray_batch_next(t->batch, &index) ? (long)index : -1;
}

size_t batch_settle(struct outtray_taken *t, size_t first, size_t n,
                    int outcome, int64_t retry_after_ms, const char *reason)
{
    return outtray_batch_settle(t->batch, first, n,
                                (enum outtray_outcome)outcome, retry_after_ms,
                                reason);
}

bool batch_lost(struct outtray_taken *t)
{
    return outtray_batch_lost(t->batch);
}

/* The most failed tries that one of its events has had. */
unsigned batch_attempts(struct outtray_taken *t)
{
    unsigned most = 0;

    for (size_t i = 0; i < outtray_batch_size(t->batch); i++) {
        unsigned n = outtray_batch_event(t->batch, i)->attempts;
        most = n > most ? n : most;
    }
    return most;
}

size_t batch_open(struct outtray_taken *t)
{
    return outtray_batch_open(t->batch);
}

void batch_close(struct outtray_taken *t)
{
    taken_close(t);
}
%}
