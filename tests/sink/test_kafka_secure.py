"""The Kafka sink, `check` and the relay against a broker with TLS, logins and
rights: what is wrong is told in one line, once, and mending it is enough."""

import time

import pytest
from kafka_secure import USERS
from kafka_tokens import TokenFile, TokenServer, unsigned
from topics import Topics

ANNA = ("anna", USERS["anna"])


def settings(secure, listener, **more):
    """Words that set the CA and the protocol of a listener."""
    protocol = {
        "LOGIN": "sasl_ssl",
        "PLAINLOGIN": "sasl_plaintext",
        "AWAY": "sasl_plaintext",
        "PLAINTEXT": "plaintext",
    }.get(listener, "ssl")
    given = {"security.protocol": protocol, **more}
    if "ssl" in given["security.protocol"]:
        given.setdefault("ssl.ca.location", secure.ca)
    pairs = [f"kafka.{name}={value}" for name, value in given.items() if value]
    return [word for pair in pairs for word in ("--set", pair)]


def scram(mechanism):
    return {"sasl.mechanism": mechanism}


def client(secure):
    certificate, key = secure.client
    return {"ssl.certificate.location": certificate, "ssl.key.location": key}


class Outbox:
    """An outbox in SQLite whose relay goes to the secured broker."""

    def __init__(self, program, secure, topic):
        self.program, self.secure, self.topic = program, secure, topic
        self.n = 0
        program.env = {
            "OUTTRAY_CONFIG": "",
            "OUTTRAY_STORE_URL": f"sqlite://{program.folder}/shop.db",
        }
        program.run("init")

    def relay(self, listener, *login, env=None, **more):
        env = {**(env or {}), "OUTTRAY_SINK_URL": self.secure.url(listener, *login)}
        words = settings(self.secure, listener, **more)
        words += ["--set", "probe.max_ms=1s", "--set", "breaker.max_ms=1s"]
        return self.program.start("relay", "--log.format", "text", *words, env=env)

    def enqueue(self):
        self.n += 1
        self.program.run("enqueue", self.topic, f"{self.n}", "--key", "k")

    def arrived(self):
        """All that was enqueued is there, once and in order."""
        there = Topics(self.secure.bootstrap).values(self.topic, self.n)
        assert there == [b"%d" % (i + 1) for i in range(self.n)]

    def held(self):
        words = ("--subscription", "main", "--json")
        (one,) = self.program.run("status", *words).json()["subscriptions"]
        return one["held"]


@pytest.fixture
def outbox(outtray, secure, topic):
    return Outbox(outtray, secure, topic)


def told(relay, words):
    """How often the sink said it; that a relay stands still because of it is
    told besides, where that lasts."""
    lines = relay.stderr.splitlines()
    return sum(words in line and " relay  sink: " not in line for line in lines)


def told_once(relay, words):
    """Until the log says it; and it says it once."""
    relay.wait_for(lambda: told(relay, words), 30)
    return lambda: told(relay, words) == 1


# --- check ---

GOOD = [
    ("TLS", None, {}),
    ("MUTUAL", None, client),
    ("LOGIN", ANNA, {}),
    ("LOGIN", ANNA, {"sasl.mechanism": "PLAIN"}),
    ("PLAINLOGIN", ANNA, {}),
    ("LOGIN", ("dora", "dora's pw"), scram("SCRAM-SHA-256")),
    ("LOGIN", ("dora", "dora's pw"), scram("SCRAM-SHA-512")),
]


@pytest.mark.parametrize(("listener", "login", "more"), GOOD)
def test_check_passes(
    outtray, secure, topic, newer_client, listener, login, more, request
):
    env = {"OUTTRAY_SINK_URL": secure.url(listener, *(login or ()))}
    more = more(secure) if callable(more) else more
    user = {"MUTUAL": "CN=carla"}.get(listener, login[0] if login else None)
    if user:
        secure.grant(user, "WRITE", topic)
    if "SCRAM" in more.get("sasl.mechanism", ""):
        # The system's own may be too old for SCRAM with Kafka 4.
        env.update(newer_client)
        secure.add_user(*login, more["sasl.mechanism"])
    words = settings(secure, listener, **more)
    done = outtray.run("check", "--topic", topic, *words, env=env, status=None)
    assert done.status == 0, str(done)
    assert "can be published to" in done.stdout


ELSEWHERE = {"ssl.ca.location": None}  # the system's authorities
UNSIGNED = {
    "sasl.mechanism": "OAUTHBEARER",
    "enable.sasl.oauthbearer.unsecure.jwt": "true",
}
BAD = {
    # name: (listener, login, settings, exit status, words)
    "unknown authority": ("TLS", None, ELSEWHERE, 78, "kafka.ssl.ca.location"),
    "no such file": (
        *("TLS", None, {"ssl.ca.location": "/nowhere.pem"}, 2),
        "kafka.ssl.ca.location: /nowhere.pem: No such file",
    ),
    "expired": ("EXPIRED", None, {}, 78, "has expired: renew it"),
    "other host": ("STRANGER", None, {}, 78, "is for another host"),
    "plain text at TLS": (
        *("TLS", None, {"security.protocol": "plaintext"}, 69),
        "port for kafka.security.protocol=plaintext?",
    ),
    "TLS at plain text": (
        *("PLAINTEXT", None, {"security.protocol": "ssl"}, 78),
        "hangs up when TLS begins",
    ),
    "no certificate of ours": (
        *("MUTUAL", None, {}, 78),
        "set kafka.ssl.certificate.location",
    ),
    "wrong password": ("LOGIN", ("anna", "wrong-seCret"), {}, 78, "check user"),
    "unknown user": ("LOGIN", ("otto", "wrong-seCret"), {}, 78, "check user"),
    "unknown mechanism": (
        *("LOGIN", ANNA, {"sasl.mechanism": "SCRAM-SHA-1"}, 78),
        "the logins of this port are PLAIN",
    ),
    "login at no login": (
        *("TLS", ANNA, {"security.protocol": "sasl_ssl"}, 78),
        "asks for no login on this port",
    ),
    "no login at login": (
        *("LOGIN", None, {"security.protocol": "ssl"}, 69),
        "can be used: ",
    ),
    "login and no protocol for it": (
        *("TLS", ANNA, {}, 2),
        "logs nobody in",
    ),
    "protocol and no login": (
        *("LOGIN", None, {}, 2),
        "names no user",
    ),
    "tokens from nowhere": (
        *("LOGIN", None, {"sasl.mechanism": "OAUTHBEARER"}, 2),
        "say where tokens come from",
    ),
    "a token that is not renewed": (
        *("LOGIN", None, UNSIGNED, 2),
        "does not renew such a token",
    ),
    "no right to the topic": (
        *("LOGIN", ("ben", USERS["ben"]), {}, 78),
        "grant the relay's user Write and Describe",
    ),
}


# What the newer client has other words for.
OTHER_WORDS = ["unknown authority", "other host", "TLS at plain text"]
OTHER_WORDS += ["no certificate of ours", "wrong password", "unknown mechanism"]


@pytest.mark.parametrize(
    ("name", "client"),
    [(name, "") for name in BAD] + [(name, "newer") for name in OTHER_WORDS],
)
def test_check_fails_in_one_line(outtray, secure, topic, request, name, client):
    listener, login, more, status, words = BAD[name]
    env = {"OUTTRAY_SINK_URL": secure.url(listener, *(login or ()))}
    if client:
        env.update(request.getfixturevalue("newer_client"))
    given = settings(secure, listener, **more)
    # What is wrong for good ends it at once.
    command = ("check", "--timeout", "20s", "--topic", topic, *given)
    done = outtray.run(*command, env=env, status=status)
    (line,) = [one for one in done.stdout.splitlines() if "FAILED" in one]
    assert words in line, str(done)
    assert len(line) < 320, line
    assert "seCret" not in done.stdout + done.stderr
    assert done.stderr == ""


# --- the relay ---


def test_a_user_that_is_made_later(outbox, secure, newer_client):
    outbox.enqueue()
    login = ("emma", "emma-seCret")
    relay = outbox.relay("LOGIN", *login, env=newer_client, **scram("SCRAM-SHA-512"))
    once = told_once(relay, "check user and password")
    secure.add_user(*login, "SCRAM-SHA-512")
    secure.grant("emma", "WRITE", outbox.topic)
    outbox.arrived()
    assert once(), relay.stderr
    assert "seCret" not in relay.stderr


def test_a_right_that_is_granted_taken_and_granted(outbox, secure):
    # A right to something, or the broker lets it publish to nothing at all.
    secure.grant("ben", "WRITE", Topics(secure.bootstrap).topic())
    outbox.enqueue()
    relay = outbox.relay("LOGIN", "ben", USERS["ben"])
    refused = "grant the relay's user Write and Describe"
    once = told_once(relay, refused)
    relay.wait_for(lambda: outbox.held()["waiting"] == 1)
    secure.grant("ben", "WRITE", outbox.topic)
    outbox.arrived()
    relay.wait_for(lambda: "takes events again" in relay.stderr)
    assert once(), relay.stderr
    secure.revoke("ben", "WRITE", outbox.topic)

    def refused_again():
        """The broker may take a little while to carry out what it has
        acknowledged."""
        outbox.enqueue()
        return told(relay, refused) == 2

    relay.wait_for(refused_again, 30)
    secure.grant("ben", "WRITE", outbox.topic)
    outbox.arrived()
    assert told(relay, refused) == 2, relay.stderr
    assert "seCret" not in relay.stderr
    done = relay.stop()
    assert f"{outbox.n} events delivered" in done.stderr + done.stdout, str(done)


def test_a_user_that_may_publish_nothing(outbox, secure):
    secure.grant("zoe", "DESCRIBE", outbox.topic)
    outbox.enqueue()
    relay = outbox.relay("LOGIN", "zoe", USERS["zoe"])
    relay.wait_for(lambda: "breaker: " in relay.stderr, 30)
    assert "grant the relay's user Write" in relay.stderr
    assert relay.alive()
    secure.grant("zoe", "WRITE", outbox.topic)
    outbox.arrived()
    assert relay.stderr.count("failed for good") == 1, relay.stderr


def test_plain_text_stays_on_this_machine(outbox, secure):
    """Also where it is the broker that sends its clients elsewhere."""
    secure.grant("anna", "WRITE", outbox.topic)
    outbox.enqueue()
    relay = outbox.relay("AWAY", *ANNA)
    once = told_once(relay, "sink.tls=off")
    assert "not on this machine" in relay.stderr
    relay.kill()
    assert once(), relay.stderr


def test_a_certificate_that_is_renewed(outbox, secure):
    outbox.enqueue()
    relay = outbox.relay("EXPIRED")
    once = told_once(relay, "its certificate has expired: renew it")
    secure.renew("EXPIRED")
    outbox.arrived()
    assert once(), relay.stderr
    relay.wait_for(lambda: "answers again" in relay.stderr)
    secure.renew("EXPIRED", days=-1)


def test_tokens_of_a_server(outbox, secure, newer_client):
    """sasl.oauthbearer.method=oidc, which the librdkafka of a system may have
    been built without: then the sink does not open."""
    secure.grant("nora", "WRITE", outbox.topic)
    outbox.enqueue()
    with TokenServer("nora") as tokens:
        settings = {
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": tokens.url,
            "sasl.oauthbearer.client.id": "relay",
            "sasl.oauthbearer.client.secret": "env:CLIENT",
        }
        env = {**newer_client, "CLIENT": "client-seCret"}
        relay = outbox.relay("LOGIN", env=env, **settings)
        relay.wait_for(lambda: "token" in relay.stderr, 30)
        assert tokens.asked
        tokens.open = True
        outbox.arrived()
    assert relay.stderr.count("no broker of") == 1, relay.stderr
    assert "check kafka.sasl.oauthbearer.*" in relay.stderr
    assert "seCret" not in relay.stderr


def test_tokens_of_a_file(outbox, secure, tmp_path):
    """The broker closes a session with the end of its token: only the next one
    gets further. With the system's librdkafka."""
    secure.grant("tina", "WRITE", outbox.topic)
    tokens = TokenFile(tmp_path / "token", "tina")
    first = tokens.path.read_text().strip()
    env = {"OUTTRAY_SINK_TOKEN_FILE": str(tokens.path)}
    relay = outbox.relay("LOGIN", env=env)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        outbox.enqueue()
        time.sleep(0.5)
    outbox.arrived()
    assert "token" not in relay.stderr and "no broker" not in relay.stderr
    tokens.pause()
    outbox.enqueue()
    ended = f"sink.token_file: {tokens.path}: the token ended "

    def stands():
        outbox.enqueue()  # the session of an idle connection just stays
        return ended in outbox.program.run("status").stdout

    relay.wait_for(stands, 60)
    tokens.put(unsigned("tina", 600))
    outbox.arrived()
    # What happens to it later does not matter as long as the last is good.
    tokens.path.unlink()
    outbox.enqueue()
    outbox.arrived()
    assert relay.stderr.count("no broker of") <= 1, relay.stderr
    assert relay.alive()
    assert first not in relay.stderr and "eyJ" not in relay.stderr


def test_a_token_that_the_broker_refuses(outbox, secure, tmp_path):
    """Checked with what reads the topic, too."""
    secure.grant("tina", "WRITE", outbox.topic)
    token = tmp_path / "token"
    token.write_text("opaque-seCret")
    env = {
        "OUTTRAY_SINK_TOKEN_FILE": str(token),
        "OUTTRAY_SINK_URL": secure.url("LOGIN"),
    }
    words = ("check", "--topic", outbox.topic, *settings(secure, "LOGIN"))
    done = outbox.program.run(*words, env=env, status=78)
    assert "check the token in sink.token_file" in done.stdout
    assert "seCret" not in done.stdout + done.stderr
    token.write_text(unsigned("tina", -60))
    done = outbox.program.run(*words, env=env, status=78)
    assert "the token ended 1 min " in done.stdout
    token.write_text(unsigned("tina", 600))
    assert "can be published to" in outbox.program.run(*words, env=env).stdout
    outbox.enqueue()
    relay = outbox.program.start(
        "relay", "--until-empty", *settings(secure, "LOGIN"), env=env
    )
    relay.wait(60)
    secure.grant("tina", "READ", outbox.topic)
    reconcile = ("reconcile", *settings(secure, "LOGIN"))
    outbox.program.run(*reconcile, env=env)
