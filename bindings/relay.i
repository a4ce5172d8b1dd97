/* relay.i - the relay and its log.
 *
 * relay_run is not bound: a language steps in slices, to hear its own signals
 * between them, or has a thread of its own step it (pump.i). */
%{
#include "pump.h"
%}

enum outtray_log_level {
    OUTTRAY_LOG_DEBUG,
    OUTTRAY_LOG_INFO,
    OUTTRAY_LOG_WARN,
    OUTTRAY_LOG_ERROR,
};

struct outtray_handle {
    %extend {
        ~outtray_handle()
        {
            handle_drop($self);
        }
    }
};

struct outtray_relay_stats {
    %immutable;
    uint64_t delivered;
    uint64_t failed;
    uint64_t dead;
    uint64_t reads;
    uint64_t writes;
    uint64_t pruned;
    int64_t position;
    int64_t last_seq;
    int64_t fence;
    uint32_t window;
    uint32_t in_flight;
    uint32_t gaps;
    uint32_t held;
    int64_t rtt_avg_us;
    int64_t rtt_p99_us;
    int64_t throttle_avg_ms;
    int64_t throttle_max_ms;
    int64_t queued_events;
    int64_t queued_bytes;
    char stall[32];
    char stall_detail[200];
    %mutable;
    %extend {
        ~outtray_relay_stats()
        {
            free($self);
        }
    }
};

%newobject relay_open;
%newobject relay_numbers;

#if defined(SWIGPYTHON)
%thread relay_step;
#endif

%inline %{
struct outtray_handle *relay_open(const struct outtray_conf *conf,
                                  struct outtray_error *err)
{
    return handle_open(conf, err);
}

int relay_step(struct outtray_handle *h, int timeout_ms,
               struct outtray_error *err)
{
    return outtray_relay_step(h->relay, timeout_ms, err);
}

int relay_fd(struct outtray_handle *h)
{
    return outtray_relay_fd(h->relay);
}

int relay_timeout_ms(struct outtray_handle *h)
{
    return outtray_relay_timeout_ms(h->relay);
}

/* For anybody, also while it is being closed. */
void relay_stop(struct outtray_handle *h)
{
    if (h->relay != NULL)
        outtray_relay_stop(h->relay);
}

void relay_until_empty(struct outtray_handle *h)
{
    outtray_relay_until_empty(h->relay);
}

struct outtray_relay_stats *relay_numbers(struct outtray_handle *h)
{
    struct outtray_relay_stats *stats = malloc(sizeof(*stats));

    if (stats != NULL)
        outtray_relay_stats(h->relay, stats);
    return stats;
}

/* What is left of the relay is abandoned; the handle can be asked nothing. */
void relay_close(struct outtray_handle *h)
{
    signals_release(h->relay);
    outtray_relay_close(h->relay);
    h->relay = NULL;
}

#if !defined(SWIGPYTHON)
/* SIGTERM and SIGINT stop it, until it is closed. */
bool relay_signals(struct outtray_handle *h)
{
    return signals_catch(h->relay);
}
#endif

bool relay_log_next(struct outtray_handle *h, struct outtray_log_line *line)
{
    return handle_log_next(h, line);
}
%}
