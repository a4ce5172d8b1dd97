"""Where settings come from."""

import pytest


@pytest.fixture
def conf(outtray):
    """{key: row} of `outtray conf --json`."""

    def read(*options, **settings):
        rows = outtray.run("conf", "--json", *options, **settings).lines()
        return {row["key"]: row for row in rows}

    return read


def test_defaults(conf, outtray):
    rows = conf()
    assert rows["relay.ordering"]["value"] == "key"
    assert {row["source"] for row in rows.values()} == {"default"}
    assert all(row["doc"] for row in rows.values())
    assert outtray.run("conf", "relay.ordering").stdout == "key\n"


def test_a_later_source_wins(conf, outtray, tmp_path):
    (tmp_path / "outtray.ini").write_text(
        "[relay]\nordering = strict\nsubscription = of_file\n"
        "batch_events = 1\n[store]\noutbox = of_file\n"
    )
    env = {"OUTTRAY_RELAY_SUBSCRIPTION": "of_env", "OUTTRAY_STORE_OUTBOX": "of_env"}
    rows = conf("--outbox", "of_option", "--relay.batch_events=7", env=env)
    found = {key: (rows[key]["value"], rows[key]["source"]) for key in rows}
    assert found["relay.ordering"] == ("strict", "file")
    assert found["relay.subscription"] == ("of_env", "environment")
    assert found["store.outbox"] == ("of_option", "option")
    assert found["relay.batch_events"] == ("7", "option")
    assert conf("--set", "relay.batch_events=8")["relay.batch_events"]["value"] == "8"


def test_settings_of_librdkafka(conf, outtray, tmp_path):
    (tmp_path / "outtray.ini").write_text(
        "[kafka]\nlinger.ms = 5\nsasl.password = geheim\n"
    )
    rows = conf("--set", "kafka.client.id=me")
    found = {key: (rows[key]["value"], rows[key]["source"]) for key in rows}
    assert found["kafka.linger.ms"] == ("5", "file")
    assert found["kafka.client.id"] == ("me", "option")
    assert found["kafka.sasl.password"] == ("***", "file")
    table = outtray.run("conf").stdout
    assert "kafka.linger.ms" in table and "geheim" not in table
    assert outtray.run("conf", "kafka.linger.ms").stdout == "5\n"
    assert outtray.run("conf", "kafka.sasl.password").stdout == "***\n"
    # An empty one takes back what an earlier source said.
    assert "kafka.linger.ms" not in conf("--set", "kafka.linger.ms=")
    failed = outtray.run("conf", "kafka.acks", status=2).stderr
    assert "kafka.acks: unknown key" in failed


def test_which_file(conf, outtray, tmp_path):
    (tmp_path / "outtray.ini").write_text("[relay]\nordering = none\n")
    (tmp_path / "other.ini").write_text("[relay]\nordering = strict\n")
    assert conf()["relay.ordering"]["value"] == "none"
    named = {"OUTTRAY_CONFIG": "other.ini"}
    assert conf(env=named)["relay.ordering"]["value"] == "strict"
    chosen = conf("--config", "outtray.ini", env=named)
    assert chosen["relay.ordering"]["value"] == "none"
    assert conf(env={"OUTTRAY_CONFIG": ""})["relay.ordering"]["value"] == "key"
    failed = outtray.run("conf", "--config", "missing.ini", status=2)
    assert "missing.ini" in failed.stderr


def test_bad_file(outtray, tmp_path):
    (tmp_path / "outtray.ini").write_text("[relay]\n\nordring = key\n")
    failed = outtray.run("conf", status=2).stderr
    assert "outtray.ini" in failed and "3" in failed
    assert "did you mean" in failed and "ordering" in failed
    (tmp_path / "outtray.ini").write_text("[relay]\nordering = maybe\n")
    failed = outtray.run("status", status=2).stderr
    assert "relay.ordering" in failed and "strict" in failed


def test_bad_environment(outtray):
    failed = outtray.run("conf", status=2, env={"OUTTRAY_RELAY_ORDERNG": "key"})
    assert "OUTTRAY_RELAY_ORDERNG" in failed.stderr


def test_secrets_stay_secret(outtray):
    url = "postgresql://me:geheim@localhost/shop"
    env = {"OUTTRAY_STORE_URL": url, "OUTTRAY_KAFKA_SASL_PASSWORD": "geheim"}
    for options in [[], ["--json"], ["--ini"], ["store.url"]]:
        result = outtray.run("conf", *options, env=env)
        assert "geheim" not in result.stdout + result.stderr
    assert "me" in outtray.run("conf", "store.url", env=env).stdout


def test_password_in_arguments(outtray):
    url = "postgresql://me:geheim@localhost/shop"
    assert "every user of this machine" in outtray.run("conf", "--store", url).stderr
    assert outtray.run("conf", "--store", url.replace(":geheim", "")).stderr == ""
    env = {"SHOP_URL": url}
    assert outtray.run("conf", "--store", "env:SHOP_URL", env=env).stderr == ""


def test_ini_is_read_back(conf, outtray, tmp_path):
    made = outtray.run("conf", "--ini", "--relay.ordering", "strict").stdout
    (tmp_path / "outtray.ini").write_text(made)
    rows = conf()
    assert rows["relay.ordering"]["value"] == "strict"
    assert [row["key"] for row in rows.values() if row["source"] == "file"] == [
        "relay.ordering"
    ]
    # Every key may be switched on as it stands.
    everything = made.replace("\n; ", "\n")
    lines = [
        line
        for line in everything.splitlines()
        if line.startswith("[") or " = " in line and not line.startswith("url = ")
    ]
    wanted = [line for line in lines if not line[:1].isupper()]
    wanted = [line for line in wanted if not line.endswith("= ")]
    (tmp_path / "outtray.ini").write_text("\n".join(wanted) + "\n")
    outtray.run("conf", "--set", "relay.subscription=main")


def test_no_store(outtray):
    failed = outtray.run("status", status=2, env={"OUTTRAY_CONFIG": ""}).stderr
    assert failed.startswith("outtray: status: no outbox is named: give --store URL")
    assert "try: --store postgresql://" in failed
