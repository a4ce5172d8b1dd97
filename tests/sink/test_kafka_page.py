"""The examples of docs/sinks.md do what the page says."""

import os
import pathlib

import examples
from kafka_tokens import TokenServer, unsigned
from topics import Topics

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_examples(secure, newer_client, tmp_path):
    """With a librdkafka that can do all of it."""
    program = pathlib.Path(os.environ["OUTTRAY_TEST_BIN"])
    Topics(secure.bootstrap).topic(name="orders")
    for user in ("relay", "CN=carla"):
        secure.grant(user, "WRITE", "orders")
    secure.add_user("relay", "s/ecret", "SCRAM-SHA-512")
    token = tmp_path / "token"
    token.write_text(unsigned("relay", 600))
    certificate, key = secure.client
    with TokenServer("relay") as tokens:
        tokens.open = True
        servers = {
            "TLS": secure.at("TLS"),
            "MUTUAL": secure.at("MUTUAL"),
            "LOGIN": secure.at("LOGIN"),
            "CA": str(secure.ca),
            "CERTIFICATE": str(certificate),
            "KEY": str(key),
            "TOKEN": str(token),
            "TOKENS": tokens.url,
            "OUTTRAY_CONFIG": "",
            # That client takes the length of a token's claims, which have no end.
            "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":intercept_strlen=0",
            **newer_client,
        }
        page = (ROOT / "docs/sinks.md").read_text()
        folder = tmp_path / "reader"
        folder.mkdir()
        problems = examples.run(page, folder, servers, str(program.parent))
    assert not problems, "\n\n".join(problems)
    assert tokens.asked
