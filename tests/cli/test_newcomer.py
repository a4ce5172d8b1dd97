"""What a newcomer types, and whether the answer says how to go on."""

import signal

from program import on_terminal


def failure(shop, *words, status):
    """The error and the line after it; None: there is none."""
    lines = shop.run(*words, status=status).stderr.splitlines()
    assert len(lines) <= 2, lines
    return lines[0], lines[1] if len(lines) == 2 else None


def test_a_sink_without_scheme_or_with_one_slash(sqlite_shop):
    said, _ = failure(sqlite_shop, "relay", "--sink", "stdout", status=2)
    assert "sink.url: the URL cannot be understood: it must begin" in said
    assert "kafka://host:9092 or stdout:" in said
    said, _ = failure(sqlite_shop, "relay", "--sink", "file:out.ndjson", status=2)
    assert "file:///PATH is a file to write to" in said


def test_the_only_event_has_no_number(sqlite_shop):
    said, _ = failure(sqlite_shop, "enqueue", "t", "x", "--id", "17", status=65)
    assert said.startswith("outtray: enqueue: id: not a UUID")


def test_next_after_enqueue(sqlite_shop):
    """Whoever has set a sink must not be told to relay to the screen."""
    program = sqlite_shop.program
    assert "relay --sink stdout: --until-empty" in on_terminal(
        program, "enqueue", "t", "x"
    )
    seen = on_terminal(program, "enqueue", "t", "x", "--sink", "null:")
    assert "next:" in seen and "stdout:" not in seen


def test_status_has_no_heading_without_outbox(outtray, tmp_path):
    gone = outtray.run("status", "--store", f"sqlite://{tmp_path}/no.db", status=78)
    assert gone.stdout == ""
    assert f"outtray init --store sqlite://{tmp_path}/no.db" in gone.stderr


def test_database_that_does_not_exist(shop, pg):
    url = pg.url.rsplit("/", 1)[0] + "/nowhere"
    for verb in ("init", "status"):
        said, more = failure(shop, verb, "--store", url, status=78)
        assert "make it (createdb), or correct" in said
        assert more is None  # an outbox cannot be made in it
    checked = shop.run("check", "--store", url, status=78).stdout
    assert "make it (createdb)" in checked and "init" not in checked
    demo = shop.run("demo", "--store", url, "-n", "10", status=78)
    assert "make it (createdb)" in demo.stderr and "try:" not in demo.stderr


def test_plain_words(sqlite_shop):
    run = sqlite_shop.run
    sqlite_shop.enqueue(key="7")
    assert (
        "after 1 attempt:"
        in run("relay", "--until-empty", "--sink", "fault:?script=reject@key=7").stderr
    )
    assert ", last seen " in run("status").stdout
    explained = run("explain", "1").stdout
    assert "it failed 1 time of its own" in explained
    assert explained.count("fault: scripted rejection") == 1
    dry = run("redrive", "--all", "--dry-run").stdout
    assert dry == "1 event would be redriven\n"
    assert run("redrive", "--all", "--yes").stdout == "1 event redriven\n"
    assert run("redrive", "--all", "--yes").stdout == "0 events redriven\n"
    assert run("skip", "--all").stdout == "0 events skipped\n"
    assert run("pause").stdout == "subscription main paused\n"
    assert run("resume").stdout == "subscription main resumed\n"


def test_status_says_what_held_events_met(shop):
    event = shop.enqueue("nowhere")
    running = shop.start("relay", "--sink", "fault:?script=misconfigured@topic=nowhere")
    running.wait_for(lambda: shop.status()["held"]["waiting"] == 1)
    running.stop()
    reasons = {one["code"]: one["text"] for one in shop.status()["reasons"]}
    assert reasons["waiting"].startswith(
        "1 event waiting, the first is event 1: fault:"
    )
    assert event in shop.run("explain", "1").stdout


def test_check_of_a_port_where_nobody_listens(sqlite_shop):
    """It does not wait for its time-out when every broker refuses."""
    sink = "kafka://127.0.0.1:1"
    checked = sqlite_shop.run("check", "--sink", sink, "--timeout", "1h", status=69)
    assert "Connection refused" in checked.stdout


def test_demo_that_is_interrupted_leaves_nothing(outtray, tmp_path):
    outtray.env["TMPDIR"] = str(tmp_path)
    running = outtray.start("demo")
    running.wait_for(lambda: list(tmp_path.glob("outtray-demo-*/delivered")))
    running.send(signal.SIGINT)
    running.wait(status=130)
    assert list(tmp_path.glob("outtray-demo-*")) == []
