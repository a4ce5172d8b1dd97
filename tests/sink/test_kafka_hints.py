"""What `check` and `doctor` warn of, although it works today."""

from topics import Topics


def check(outtray, topics, topic, *words):
    env = {"OUTTRAY_SINK_URL": topics.url, "OUTTRAY_CONFIG": ""}
    return outtray.run("check", "--topic", topic, *words, env=env)


def test_messages_that_are_too_small(outtray, kafka):
    topic = kafka.topic(max_message_bytes=20000)
    done = check(outtray, kafka, topic)
    (line,) = [one for one in done.stdout.splitlines() if "warning" in one]
    assert "max.message.bytes" in line and "20000" in line
    (item,) = check(outtray, kafka, topic, "--json").json()["items"][1:]
    assert item["ok"] and "20000" in item["warning"]
    smaller = ("--set", "enqueue.max_payload_bytes=10000")
    assert "warning" not in check(outtray, kafka, topic, *smaller).stdout
    assert "warning" not in check(outtray, kafka, kafka.topic()).stdout


def test_replicas_that_do_not_help(outtray, own_kafka, tmp_path):
    kafka = Topics(own_kafka(2).bootstrap)
    for replicas, insync, words in (
        (1, 1, "has one replica"),
        (2, 1, "min.insync.replicas=1"),
        (2, 2, None),
    ):
        topic = kafka.topic(1, replicas, min_insync_replicas=insync)
        out = check(outtray, kafka, topic).stdout
        assert ("warning" in out) == (words is not None), out
        assert words is None or words in out
        # doctor finds the topic by itself
        store = {"OUTTRAY_STORE_URL": f"sqlite://{tmp_path}/{topic}"}
        outtray.run("init", env=store)
        outtray.run("enqueue", topic, "{}", env=store)
        # … and that no relay runs, which is what fails
        doctor = outtray.run("doctor", "--sink", kafka.url, env=store, status=1)
        out = doctor.stdout
        assert out.count("FAILED") == 1, out
        assert f"can be published to: {topic}" in out
        assert (f"warning  topic {topic}" in out) == (words is not None), out
        assert words is None or words in out
