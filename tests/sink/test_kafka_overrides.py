"""sink.classify: an error is treated as the operator says."""

from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource
from kafka_secure import wait


def test_too_large_for_the_topic_can_wait(outtray, kafka):
    """A message above the topic's limit is rejected; here the topic is to
    blame, and mending it is enough."""
    topic = kafka.topic(1, max_message_bytes=2000)
    classify = "MSG_SIZE_TOO_LARGE:misconfigured"
    outtray.env = {
        "OUTTRAY_CONFIG": "",
        "OUTTRAY_STORE_URL": f"sqlite://{outtray.folder}/shop.db",
        "OUTTRAY_SINK_URL": kafka.url,
        "OUTTRAY_SINK_CLASSIFY": classify,
    }
    outtray.run("init")
    assert classify in outtray.run("conf").stdout
    payload = "x" * 9000
    event = outtray.run("enqueue", topic, payload).stdout.strip()
    words = ("--set", "probe.max_ms=1s", "--set", "kafka.compression.type=none")
    relay = outtray.start("relay", *words)

    def held():
        (one,) = outtray.run("status", "--json").json()["subscriptions"]
        return one["held"]

    relay.wait_for(lambda: held()["waiting"] == 1, 30)
    assert held()["dead"] == 0
    said = outtray.run("explain", event).stdout
    assert "(MSG_SIZE_TOO_LARGE, by sink.classify misconfigured)" in said
    limit = ConfigEntry(
        "max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(
        ConfigResource.Type.TOPIC, topic, incremental_configs=[limit]
    )
    admin = kafka.admin()
    wait(admin.incremental_alter_configs([resource]))
    assert kafka.values(topic, 1) == [payload.encode()]
    relay.stop()


def test_what_breaks_a_promise_is_refused(outtray, kafka):
    outtray.env = {
        "OUTTRAY_STORE_URL": f"sqlite://{outtray.folder}/shop.db",
        "OUTTRAY_SINK_URL": kafka.url,
    }
    outtray.run("init")
    for classify, words in (
        ("POLICY_VIOLATON:retry", "did you mean POLICY_VIOLATION?"),
        ("INVALID_RECORD:ok", "would count as delivered"),
        ("NOT_ENOUGH_REPLICAS:rejected", "must use up no attempts"),
    ):
        words_of_it = ("--set", f"sink.classify={classify}")
        for verb in ("relay", "check"):
            done = outtray.run(verb, *words_of_it, status=2)
            assert words in done.stdout + done.stderr
