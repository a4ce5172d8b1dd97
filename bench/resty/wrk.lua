-- wrk.lua - what wrk found, on one line for the benchmark.
function done(summary, latency)
    local errors = summary.errors
    print(string.format('{"requests": %d, "us": %d, "failed": %d, "p50_us": %d, '
        .. '"p99_us": %d}', summary.requests, summary.duration, errors.connect
        + errors.read + errors.write + errors.status + errors.timeout,
        latency:percentile(50), latency:percentile(99)))
end
