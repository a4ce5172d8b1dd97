/* pump.i - a thread that steps the relay. See pump.h.
 *
 * While it runs nothing else steps the relay, asks for its numbers or closes
 * it: pump_stop comes before relay_close. */
#if defined(SWIGPYTHON)
%thread pump_stop;
#endif

%newobject pump_numbers;

%inline %{
void pump_start(struct outtray_handle *h, struct outtray_error *err)
{
    pump_begin(h, err);
}

/* Readable when there is news: pump_hear, then look for all of it. Constant;
 * valid as long as the handle. */
int pump_fd(struct outtray_handle *h)
{
    return h->pump->fds[0];
}

/* Forget the news. */
void pump_hear(struct outtray_handle *h)
{
    char byte;

    pthread_mutex_lock(&h->lock);
    if (h->pump->told && !h->pump->ended &&
        read(h->pump->fds[0], &byte, 1) == 1)
        h->pump->told = false;
    pthread_mutex_unlock(&h->lock);
}

/* There is more for another one who waits. */
void pump_pass_on(struct outtray_handle *h)
{
    pthread_mutex_lock(&h->lock);
    pump_tell(h->pump);
    pthread_mutex_unlock(&h->lock);
}

/* Has it ended? An error, if that is why. */
bool pump_ended(struct outtray_handle *h, struct outtray_error *err)
{
    bool ended;

    pthread_mutex_lock(&h->lock);
    ended = h->pump->ended;
    if (ended && h->pump->rc < 0)
        *err = h->pump->err;
    pthread_mutex_unlock(&h->lock);
    return ended;
}

/* The numbers of a moment ago; the last ones once it has ended. */
struct outtray_relay_stats *pump_numbers(struct outtray_handle *h)
{
    struct outtray_relay_stats *stats = malloc(sizeof(*stats));

    if (stats == NULL)
        return NULL;
    pthread_mutex_lock(&h->lock);
    *stats = h->pump->stats;
    pthread_mutex_unlock(&h->lock);
    return stats;
}

/* End it, cleanly only if it has ended by itself. It waits for the step that
 * is under way. */
void pump_stop(struct outtray_handle *h)
{
    pump_quit(h->pump);
    pump_join(h->pump);
}
%}
