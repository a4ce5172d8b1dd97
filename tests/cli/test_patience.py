"""A verb that changes something waits as long as the database lets it wait: it
says for what, and Ctrl-C ends it with what is known of the change."""

import signal
import time

import psycopg
import pytest
from lateness import Promise

SAID = 5  # seconds until it says what it waits for
SECONDS = 40


def sql(url, text):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(text)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def url(outtray, pg):
    outtray.env.update(OUTTRAY_STORE_URL=pg.url)
    return made(outtray, pg.url)


def made(outtray, url):
    """With a subscription, which a relay has left."""
    outtray.run("init")
    outtray.run("relay", "--until-empty", "--sink", "null:")
    return url


def told(run, *texts):
    promise = Promise(SAID, others=3)
    run.wait_for(lambda: all(text in run.stderr for text in texts), SECONDS)
    assert not promise.broken(), f"{promise}\n{run.stderr}"


def commands(url):
    return sql(url, "SELECT verb FROM outtray.command ORDER BY id")


def waiting(url):
    return sql(url, "SELECT pid FROM pg_locks WHERE NOT granted AND relation > 0")


@pytest.mark.parametrize(
    "words, table",
    [(["pause"], "command"), (["enqueue", "t", "{}"], "event"), (["prune"], "event")],
    ids=lambda value: str(value),
)
def test_a_lock(outtray, url, words, table):
    if words == ["prune"]:
        outtray.run("enqueue", "t", "{}")
        outtray.run("relay", "--until-empty", "--sink", "null:")
        words = ["prune", "--older-than", "0s"]
    with psycopg.connect(url) as connection:
        # Who only looks is let through.
        connection.execute(f"LOCK TABLE outtray.{table} IN EXCLUSIVE MODE")
        pid = connection.info.backend_pid
        run = outtray.start(*words)
        told(run, "waits: process", f"on outtray.{table}")
        assert f"pg_terminate_backend({pid})" in run.stderr
        run.send(signal.SIGINT)
        done = run.wait(SECONDS, status=130)
        assert "changed nothing" in done.stderr and not waiting(url), str(done)
        count = sql(url, f"SELECT count(*) FROM outtray.{table}")
        # It goes on when it may.
        run = outtray.start(*words)
        told(run, "waits: process")
        connection.rollback()
        run.wait(SECONDS, status=0)
    assert (
        sql(url, f"SELECT count(*) FROM outtray.{table}") != count or table != "event"
    )


def test_a_lock_on_what_the_request_is_carried_out_with(outtray, url):
    with psycopg.connect(url) as connection:
        connection.execute("SELECT FROM outtray.cursor FOR UPDATE")
        run = outtray.start("pause")
        told(run, "waits: process", "on outtray.cursor")
        run.send(signal.SIGINT)
        done = run.wait(SECONDS, status=130)
    assert "the request is kept" in done.stderr and commands(url) == [("pause",)]


def test_nothing_is_said_of_what_holds_others_up_alone(outtray, url):
    with psycopg.connect(url) as connection:
        connection.execute("SELECT outtray.enqueue('t', 'x')")
        time.sleep(6)  # what is called an open transaction of a writer
        assert outtray.run("pause").stderr == ""


@pytest.mark.timeout(180)
def test_a_standby_that_is_away(outtray, own_pg):
    server = own_pg()
    outtray.env.update(OUTTRAY_STORE_URL=server.url)
    url = made(outtray, server.url)
    sql(url, "ALTER SYSTEM SET synchronous_standby_names = 'away'")
    sql(url, "SELECT pg_reload_conf()")
    away = "synchronous_standby_names is 'away'"
    run = outtray.start("pause")
    other = outtray.start("init", "--outbox", "other")
    told(run, "waits: ", away)
    run.send(signal.SIGINT)
    done = run.wait(SECONDS, status=130)
    assert "it is done, but no standby has it yet" in done.stderr
    assert commands(url) == [("pause",)]
    told(other, "waits: ", away, "pg_reload_conf()")
    # A server that hangs answers nobody, also not who gives up.
    run = outtray.start("enqueue", "t", "{}")
    both = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    run.wait_for(lambda: len(sql(url, both)) == 2)
    server.pause()
    try:
        run.send(signal.SIGINT)
        done = run.wait(SECONDS, status=130)
        assert "whether it is done is not known" in done.stderr
    finally:
        server.resume()
    sql(url, "ALTER SYSTEM SET synchronous_standby_names = ''")
    sql(url, "SELECT pg_reload_conf()")
    assert "outbox other created" in other.wait(SECONDS, status=0).stdout
    assert outtray.run("resume").status == 0 and commands(url) == []
