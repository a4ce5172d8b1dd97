"""What `status` tells of the broker, when it was asked to."""

FIGURES = {
    "rtt_avg_us", "rtt_p99_us", "throttle_avg_ms", "throttle_max_ms",
    "queued_events", "queued_bytes",
}  # fmt: skip


def test_status(outtray, kafka):
    topic = kafka.topic()
    outtray.env = {
        "OUTTRAY_CONFIG": "",
        "OUTTRAY_STORE_URL": f"sqlite://{outtray.folder}/shop.db",
        "OUTTRAY_SINK_URL": kafka.url,
    }
    outtray.run("init")

    def said():
        (one,) = outtray.run("status", "--json").json()["subscriptions"]
        return (one["report"] or {}).get("said", {})

    lease = ("--set", "relay.lease_ttl_ms=1500ms")
    relay = outtray.start("relay", *lease)
    relay.wait_for(lambda: said().get("reason") == "none")
    assert "broker" not in said()
    assert "  broker " not in outtray.run("status").stdout
    relay.stop()

    relay = outtray.start("relay", *lease, "--set", "sink.statistics_ms=1s")

    def answered():
        outtray.run("enqueue", topic, "payload", "--key", "k")
        figures = said().get("broker")
        return figures if figures and figures["rtt_avg_us"] > 0 else None

    figures = relay.wait_for(answered, 30)
    assert set(figures) == FIGURES
    assert figures["rtt_p99_us"] > 0 and figures["throttle_max_ms"] == 0
    assert figures["queued_events"] >= 0 and figures["queued_bytes"] >= 0

    def told():
        outtray.run("enqueue", topic, "payload", "--key", "k")
        return "  broker    round trip " in outtray.run("status").stdout

    relay.wait_for(told, 30)
    relay.stop()


def test_too_often(outtray, kafka):
    outtray.env = {
        "OUTTRAY_STORE_URL": f"sqlite://{outtray.folder}/shop.db",
        "OUTTRAY_SINK_URL": kafka.url,
    }
    outtray.run("init")
    for setting, words in (
        ("sink.statistics_ms=999", "write 0, or 1s or more"),
        ("kafka.statistics.interval.ms=1000", "write sink.statistics_ms"),
    ):
        done = outtray.run("relay", "--set", setting, status=2)
        assert words in done.stderr
