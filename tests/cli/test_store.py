"""Setting an outbox up, and what is said when the database is not there."""

import json
import stat
import subprocess
import time

import psycopg
import pytest
from oldest import oldest


def test_init(outtray, store_url):
    outtray.env.update(OUTTRAY_STORE_URL=store_url, OUTTRAY_CONFIG="")
    assert "outbox outtray created" in outtray.run("init").stdout
    again = outtray.run("init", status=73)
    assert again.stdout == "" and "already" in again.stderr
    made = outtray.run("init", "--if-not-exists", "--json").json()
    assert made["created"] is False and made["schema_version"] >= 1
    assert made["outbox"] == "outtray"
    other = outtray.run("init", "--outbox", "second", "--json").json()
    assert other["created"] is True
    outtray.run("enqueue", "t", "x", "--outbox", "second")
    second = outtray.run("status", "--json", "--outbox", "second").json()
    assert second["subscriptions"][0]["pending"] == 1
    first = outtray.run("status", "--json").json()
    assert first["subscriptions"][0]["pending"] == 0


def test_a_database_that_looks_at_no_text(outtray, pg):
    """A key that is not UTF-8 is an event like others, not the end of all."""
    server, _, name = pg.url.rpartition("/")
    pg.query(f"CREATE DATABASE {name}_ascii ENCODING 'SQL_ASCII' "
             "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")  # fmt: skip
    url = f"{server}/{name}_ascii"
    outtray.env.update(OUTTRAY_STORE_URL=url, OUTTRAY_CONFIG="")
    outtray.run("init")
    with psycopg.connect(url) as connection:
        connection.execute(
            r"""SELECT outtray.enqueue('t', 'x', key => E'k\xe9',
                                       headers => E'{"h": "v\xe9"}'),
                       outtray.enqueue('t', 'after')"""
        )
    (first, _) = outtray.run("tail", "--json").lines()
    assert first["key"] == "k\xe9"
    out = outtray.folder / "out"
    outtray.run("relay", "--sink", "fault:?script=reject,ok", "--until-empty")
    assert outtray.run("dead", "--json").lines()[0]["key"] == "k\xe9"
    outtray.run("redrive", "--all", "--yes")
    outtray.run("relay", "--sink", f"file://{out}", "--until-empty")
    (line,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (line["key"], line["headers"]) == ("k\ufffd", {"h": "v\ufffd"})
    found = outtray.run("doctor", "--json", status=None).json()["findings"]
    (text,) = [one["text"] for one in found if one["check"] == "encoding"]
    assert "SQL_ASCII: it looks at no text" in text
    pg.query(f"DROP DATABASE {name}_ascii WITH (FORCE)")


# A character of the database that UTF-8 does not have.
STRANGERS = {"WIN1252": r"E'k\x81'", "EUC_JP": r"E'k\xfe\xfe'"}


@pytest.mark.parametrize("encoding", STRANGERS)
def test_text_that_utf8_does_not_have(outtray, pg, encoding):
    """It is refused before it stops what others wrote; an outbox that has some
    from before is mended as doctor says."""
    server, _, name = pg.url.rpartition("/")
    pg.query(f"CREATE DATABASE {name}_old ENCODING '{encoding}' "
             "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")  # fmt: skip
    url = f"{server}/{name}_old"
    out = outtray.folder / "out"
    key = STRANGERS[encoding]
    insert = f"INSERT INTO outtray.event (topic, key, payload) VALUES ('t', {key}, '')"
    outtray.env.update(OUTTRAY_STORE_URL=url, OUTTRAY_CONFIG="")
    outtray.run("init")
    with psycopg.connect(url, autocommit=True) as connection:
        for text in (insert, f"SELECT outtray.enqueue('t', 'x', type => {key})"):
            with pytest.raises(psycopg.errors.UntranslatableCharacter):
                connection.execute(text)
        assert finding(outtray, "utf8")["level"] == "ok"
        connection.execute("ALTER TABLE outtray.event DROP CONSTRAINT event_utf8")
        connection.execute(insert)
        outtray.run("enqueue", "t", "x", "--key", "§")
        relay = outtray.start("relay", "--sink", f"file://{out}")
        relay.wait_for(lambda: "outtray doctor" in relay.stderr)
        assert "outtray doctor" in outtray.run("tail", status=65).stderr
        connection.execute(finding(outtray, "utf8")["fix"])
        assert finding(outtray, "utf8")["level"] == "ok"
        with pytest.raises(psycopg.errors.UntranslatableCharacter):
            connection.execute(insert)
        relay.wait_for(lambda: out.exists() and out.read_text().count("\n") == 2)
    relay.stop()
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert [event["key"] for event in events] == ["k?", "§"]
    pg.query(f"DROP DATABASE {name}_old WITH (FORCE)")


def finding(outtray, check):
    found = outtray.run("doctor", "--json", status=None).json()["findings"]
    (one,) = [one for one in found if one["check"] == check]
    return one


def test_times_of_no_clock(outtray, pg):
    """They are shown as far as people count, and end no listing."""
    outtray.env.update(OUTTRAY_STORE_URL=pg.url, OUTTRAY_CONFIG="")
    outtray.run("init")
    for at in ("infinity", "-infinity", "294276-01-01"):
        pg.query("INSERT INTO outtray.event (topic, payload, created_at, deliver_at) "
                 "VALUES ('t', 'x', %s, %s)", at, at)  # fmt: skip
    events = outtray.run("tail", "--json").lines()
    assert [one["created_at"][:4] for one in events] == ["9999", "1970", "9999"]
    for event in events:
        assert event["id"] in outtray.run("show", event["id"]).stdout
    outtray.run("relay", "--until-empty", "--sink", "fault:?script=reject")
    assert len(outtray.run("dead", "--json").lines()) == 1
    assert len(outtray.run("tail", "--json").lines()) == 3


def test_status_at_times_of_no_clock(outtray, pg):
    outtray.env.update(OUTTRAY_STORE_URL=pg.url, OUTTRAY_CONFIG="")
    outtray.run("init")
    view = "SELECT pending, oldest_undelivered::text, lag FROM outtray.status"
    for at, age in {"infinity": 0, "-infinity": time.time(), "now": 0}.items():
        pg.query("TRUNCATE outtray.event")
        pg.query("INSERT INTO outtray.event (topic, payload, created_at) "
                 "VALUES ('t', 'x', %s)", at)  # fmt: skip
        ((pending, oldest, lag),) = pg.query(view)
        assert pending == 1 and ("infinity" in oldest) == ("infinity" in at)
        assert lag.total_seconds() == pytest.approx(age, abs=60)
        (one,) = outtray.run("status", "--json").json()["subscriptions"]
        assert one["oldest_age_s"] == pytest.approx(age, abs=60)


def test_a_file_that_may_not_grow(outtray, pg):
    """The relay lives, and says so."""
    outtray.env.update(OUTTRAY_STORE_URL=pg.url, OUTTRAY_CONFIG="")
    outtray.run("init")
    outtray.run("enqueue", "t", "x")
    sink = f"file://{outtray.folder}/out"
    command = f"ulimit -f 0; exec {outtray.path} relay --sink {sink}"
    with subprocess.Popen(["sh", "-c", command], env=outtray.environment(),
                          stderr=subprocess.PIPE, text=True) as relay:  # fmt: skip
        said = next((line for line in relay.stderr if "ulimit -f" in line), None)
        relay.terminate()
    assert said and relay.returncode == 0


def test_unique_ids(outtray, store_url):
    outtray.env.update(OUTTRAY_STORE_URL=store_url, OUTTRAY_CONFIG="")
    outtray.run("init", "--unique-ids")
    made = outtray.run("enqueue", "t", "x").stdout.strip()
    again = outtray.run("enqueue", "t", "x", "--id", made, status=None)
    assert again.status != 0 and len(again.stderr.splitlines()) <= 2


def test_roles(outtray, pg):
    name = pg.url.rpartition("/")[2]
    for role in ("app", "relay"):
        pg.query(f"CREATE ROLE {name}_{role} LOGIN PASSWORD 'x'")
    outtray.env.update(OUTTRAY_STORE_URL=pg.url, OUTTRAY_CONFIG="")
    done = outtray.run(
        "init", "--app-role", f"{name}_app", "--relay-role", f"{name}_relay"
    )
    assert f"role {name}_app may enqueue" in done.stdout
    as_app = {"OUTTRAY_STORE_URL": pg.url.replace("//postgres", f"//{name}_app:x")}
    as_relay = {
        "OUTTRAY_STORE_URL": as_app["OUTTRAY_STORE_URL"].replace("_app:", "_relay:")
    }
    outtray.run("enqueue", "t", "x", env=as_app)
    refused = outtray.run("drop", "--yes", env=as_app, status=77)
    assert "try: " in refused.stderr
    done = outtray.run(
        "relay", "--sink", "null:", "--until-empty", "--json", env=as_relay
    )
    assert done.json()["delivered"] == 1
    # What no outbox can grant.
    function = "FUNCTION pg_control_system()"
    pg.query(f"REVOKE EXECUTE ON {function} FROM PUBLIC")
    refused = outtray.run("relay", "--sink", "null:", env=as_relay, status=78).stderr
    grant = f"GRANT EXECUTE ON {function} TO "
    assert f'{grant}"{name}_relay", typed by a superuser' in refused
    assert "--relay-role" not in refused
    words = ("init", "--outbox", "other")
    assert grant in outtray.run(*words, env=as_relay, status=78).stderr
    found = outtray.run("doctor", "--json", env=as_relay, status=1).json()["findings"]
    (fix,) = [f["fix"] for f in found if f["check"] == "functions"]
    pg.query(fix.partition(",")[0])
    outtray.run("relay", "--sink", "null:", "--until-empty", env=as_relay)
    # Asking for the roles again is fine.
    outtray.run("init", "--app-role", f"{name}_app")
    outtray.run("drop", "--yes")
    for role in ("app", "relay"):
        pg.query(f"DROP OWNED BY {name}_{role}; DROP ROLE {name}_{role}")


def test_upgrade(shop):
    assert "schema version" in shop.run("upgrade", "--check").stdout
    assert shop.run("upgrade", "--plan").stdout == ""
    assert shop.run("upgrade", "--sql").stdout.strip() == ""
    assert "schema version" in shop.run("upgrade").stdout
    found = shop.run("upgrade", "--json").json()
    assert found["schema_version"] == found["schema_wanted"]


def test_newer_schema(shop, store_url, tmp_path):
    if store_url.startswith("sqlite"):
        import sqlite3

        with sqlite3.connect(tmp_path / "shop.db") as connection:
            connection.execute("UPDATE outtray_meta SET schema_version = 99")
    else:
        import psycopg

        with psycopg.connect(store_url) as connection:
            connection.execute("UPDATE outtray.meta SET schema_version = 99")
    for words in (["upgrade", "--check"], ["relay", "--sink", "null:"], ["status"]):
        failed = shop.run(*words, status=78)
        assert "99" in failed.stderr, str(failed)
    assert "FAILED" in shop.run("check", status=78).stdout


def test_drop(shop):
    shop.enqueue()
    refused = shop.run("drop", status=2)
    assert "outbox outtray has 1 event\n" in refused.stdout
    assert "try: outtray drop --yes" in refused.stderr
    assert shop.run("drop", "--dry-run", "--json").json() == {
        "outbox": "outtray",
        "events": 1,
        "dropped": False,
    }
    assert shop.status()["pending"] == 1
    assert "dropped" in shop.run("drop", "--yes").stdout
    shop.run("status", status=78)
    shop.run("drop", "--yes", status=78)


def test_check(shop, kafka):
    done = shop.run("check")
    items = [line.split()[:2] for line in done.stdout.splitlines()]
    assert ["ok", "database"] in items and ["ok", "schema"] in items
    assert not [item for item in items if item[0] != "ok"]
    topic = kafka.topic()
    done = shop.run("check", "--sink", kafka.url, "--topic", topic, "--json").json()
    assert done["ok"] is True
    assert {"sink", f"topic {topic}"} <= {item["item"] for item in done["items"]}
    missing = shop.run(
        "check", "--sink", kafka.url, "--topic", topic, "--topic", "not.there",
        status=78,
    )  # fmt: skip
    assert "FAILED   topic not.there" in missing.stdout
    assert f"ok       topic {topic}" in missing.stdout
    away = shop.run(
        "check", "--sink", "kafka://127.0.0.1:1", "--json", "--timeout", "2s", status=69
    )
    assert away.json()["ok"] is False
    assert away.json()["items"][-1]["error"] == "SINK_UNAVAILABLE"


def test_check_without_outbox(outtray, store_url):
    outtray.env.update(OUTTRAY_STORE_URL=store_url, OUTTRAY_CONFIG="")
    done = outtray.run("check", status=78)
    assert "FAILED" in done.stdout and "try: outtray init" in done.stdout


def test_doctor(shop):
    found = shop.run("doctor", "--json", "--sink", "null:").json()
    assert found["errors"] == 0
    assert {"check", "level", "text", "fix"} == set(found["findings"][0])
    assert found["findings"][-1]["check"] == "sink"
    # OUTTRAY_E_UNHEALTHY
    failed = shop.run(
        "doctor", "--sink", "kafka://127.0.0.1:1", "--timeout", "2s", status=1
    )
    assert "FAILED   sink" in failed.stdout


@pytest.mark.parametrize(
    "url, status, said",
    [
        ("mysql://localhost/x", 2, "mysql"),
        ("postgresql+asyncpg://u@h/x", 2, "postgresql and sqlite, without the driver"),
        ("shop.db", 2, "it must begin with a scheme"),
        ("sqlite:///nowhere/at/all/shop.db", 2, "no folder /nowhere/at/all"),
        ("sqlite:.", 2, "is a folder"),
        ("postgresql://postgres@127.0.0.1:1/postgres", 69, "127.0.0.1"),
        ("postgresql://u@no-such-host.invalid/x?tls=off", 69, "no-such-host.invalid"),
    ],
)
def test_bad_urls(outtray, url, status, said):
    env = {"OUTTRAY_STORE_URL": url, "OUTTRAY_STORE_CONNECT_TIMEOUT_MS": "1s"}
    if "invalid" in url:
        env["OUTTRAY_STORE_TLS"] = "off"
        env["OUTTRAY_STORE_URL"] = url.replace("?tls=off", "")
    failed = outtray.run("init", env=env, status=None)
    assert said in failed.stderr, str(failed)
    assert len(failed.stderr.splitlines()) <= 2
    assert failed.status == status, str(failed)


def test_wrong_login(outtray, pg):
    name = pg.url.rpartition("/")[2]
    missing = pg.url.replace(name, name + "_no")
    failed = outtray.run("init", env={"OUTTRAY_STORE_URL": missing}, status=None)
    assert name + "_no" in failed.stderr and failed.status in (69, 77, 78)
    nobody = pg.url.replace("//postgres@", f"//{name}_no@")
    failed = outtray.run("init", env={"OUTTRAY_STORE_URL": nobody}, status=77)
    assert name + "_no" in failed.stderr


def test_read_only_file(outtray, sqlite_shop, tmp_path):
    (tmp_path / "file").write_text("this is no database, " * 100)
    env = {"OUTTRAY_STORE_URL": f"sqlite://{tmp_path}/file"}
    failed = outtray.run("status", env=env, status=None)
    assert failed.status not in (0, 1) and "file" in failed.stderr
    assert stat.S_ISREG((tmp_path / "file").stat().st_mode)
    assert (tmp_path / "file").read_text().startswith("this is no database")


def test_upgrade_from_the_first_version(outtray, store_url):
    """A relay works before, during and after; what is new comes with the
    upgrade and its next lease."""
    oldest(store_url)
    outtray.env["OUTTRAY_STORE_URL"] = store_url
    outtray.run("enqueue", "t", "1")
    relay = outtray.start("relay", "--sink", "null:", "--set", "relay.lease_ttl_ms=1s")

    def status():
        (one,) = outtray.run("status", "--json").json()["subscriptions"]
        return one

    relay.wait_for(lambda: status()["position"] > 0)
    # A lease as short as this one runs out now and then on a busy machine.
    relay.wait_for(lambda: status()["state"] == "running")
    assert status()["report"] is None
    assert outtray.run("upgrade", "--check", status=None).status != 0
    plan = outtray.run("upgrade", "--plan").stdout.split()
    assert plan[:2] == ["0002", "report"]
    assert "ALTER TABLE" in outtray.run("upgrade", "--sql").stdout
    outtray.run("upgrade")
    outtray.run("upgrade", "--check")
    outtray.run("enqueue", "t", "2")
    relay.wait_for(lambda: status()["pending"] == 0)
    relay.stop()
    relay = outtray.start("relay", "--sink", "null:")
    report = relay.wait_for(lambda: status()["report"])
    assert report["live"] and report["said"]["reason"] == "none"
    relay.stop()


def test_output_that_cannot_be_written(shop):
    """OUTTRAY_E_IO, whatever was asked; but not when nobody reads any more."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [shop.program.path, "status"],
            env=shop.program.environment(),
            cwd=shop.program.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 74, done.stderr
    assert "No space left" in done.stderr
