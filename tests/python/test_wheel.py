"""The wheel that people install: it brings its libraries, needs none of the
machine's, and disturbs no other that is in the process."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RAW = ROOT / "build/wheel"  # what is installed in .venv, see python_package.py
MAPPED = """
import re
maps = open("/proc/self/maps").read()
print(*sorted(set(re.findall(r"/\\S+[.]so[^ ]*$", maps, re.M))), sep="\\n")
"""


def run(*command, **options):
    options = {"timeout": 500, **options}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pip(*arguments):
    run(sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    (raw,) = RAW.glob("*.whl")
    text = run(sys.executable, ROOT / "bindings/make_wheel.py", "--raw", raw, folder)
    assert "libraries in it" in text
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def empty(wheel, tmp_path_factory):
    """The Python of an environment that has nothing but the wheel."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, symlinks=True)
    python = folder / "bin/python"
    pip("--python", python, "install", "--no-index", "--no-deps", wheel)
    return python


@pytest.fixture(scope="module")
def beside(wheel, tmp_path_factory):
    """A folder with the package, to stand before that of .venv, where the
    drivers are."""
    folder = tmp_path_factory.mktemp("beside")
    pip("install", "--no-index", "--no-deps", "--target", folder, wheel)
    return folder


def test_one_for_all_versions(wheel):
    assert re.search(r"-cp311-abi3-manylinux_2_\d+_\w+\.whl$", wheel.name)


def test_no_sqlite_is_in_it(names):
    """Two copies in one process lose committed data."""
    assert [name for name in names if "libsqlite" in name.lower()] == []


def test_bill_of_materials(wheel, names):
    """It names every library in the wheel, by its hash, and a licence whose
    text is there."""
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (n for n in names if n.endswith(".cdx.json"))
        assert re.fullmatch(r"outtray-[\d.]+\.dist-info/sboms/[\w.]+", path)
        bill = json.loads(archive.read(path))
        libraries = [n for n in names if n.startswith("outtray.libs/")]
        parts = {one["bom-ref"]: one for one in bill["components"]}
        assert sorted(f"outtray.libs/{name}" for name in parts) == sorted(libraries)
        for library in libraries:
            part = parts[library.removeprefix("outtray.libs/")]
            content = hashlib.sha256(archive.read(library)).hexdigest()
            assert part["hashes"] == [{"alg": "SHA-256", "content": content}]
            assert part["licenses"]
            assert re.match(r"pkg:deb/debian/\S+@\S+$", part["purl"])
            texts = [n for n in names if n.endswith(f"/{part['name']}/copyright")]
            assert len(texts) == 1
        metadata = archive.read(path.partition("/")[0] + "/METADATA").decode()
    listed = re.findall(r"^License-File: (.*)$", metadata, re.MULTILINE)
    found = [n.partition("/licenses/")[2] for n in names if "/licenses/" in n]
    assert sorted(listed) == sorted(found)
    assert {"librdkafka1", "libpq5", "libssl3"} <= {
        re.sub(r"t64$", "", part["name"]) for part in parts.values()
    }


def test_the_first_event(empty, tmp_path):
    """The example of the README, in an environment with nothing else."""
    text = (ROOT / "README.md").read_text()
    (program,) = re.findall(r"^cat >shop.py <<'END'\n(.*?)^END$", text, re.M | re.S)
    assert len(program.splitlines()) < 10
    (tmp_path / "shop.py").write_text(program)
    run(empty.parent / "outtray", "init", "--store", "sqlite:orders.db", cwd=tmp_path)
    event = json.loads(run(empty, "shop.py", cwd=tmp_path).splitlines()[-1])
    assert event["topic"] == "orders.created"


def test_the_command(empty):
    text = run(empty, "-m", "outtray", "version")
    assert text == run(empty.parent / "outtray", "version")
    assert text.startswith("outtray 0.")


def test_no_library_of_the_machine(empty, pg, kafka):
    """With connections to both servers open, what is mapped is the wheel's."""
    program = f"""
        import outtray
        from outtray.cli import main
        assert main(["init", "--store", {pg.url!r}]) == 0
        with outtray.Relay({pg.url!r}, {kafka.url!r}) as relay:
            while relay.stats().position is None:
                relay.step(0.1)
            assert main(["check", "--store", {pg.url!r}, "--sink", {kafka.url!r}]) == 0
    """

    lines = run(empty, "-c", textwrap.dedent(program) + MAPPED).splitlines()
    found = {pathlib.Path(line) for line in lines if re.match(r"/\S+\.so", line)}
    ours = {path for path in found if "site-packages" in path.parts}
    for name in ("_native.", "libpq-", "librdkafka-", "libssl-", "libuv-"):
        assert any(path.name.startswith(name) for path in ours)
    # Python's own modules, the plugins that any libsasl2 loads, the C library.
    others = [p for p in found if p.parent.name in {"lib-dynload", "sasl2"}]
    for path in [pathlib.Path("/bin/true"), *others]:
        names = re.findall(r"/\S+", run("ldd", path))
        others += [pathlib.Path(name).resolve() for name in names]
    others += [p for p in found if re.match(r"lib(resolv|m|z|expat)\.so", p.name)]
    assert found - ours - set(others) == set()


WORK = {
    "outtray": """
        import outtray
        from outtray.cli import main
        def work_outtray():
            assert main(["init", "--store", URL]) in (0, 1)
            outbox = outtray.Outbox()
            with psycopg.connect(URL) as conn:
                outbox.enqueue(conn, TOPIC, b"from psycopg", key="1")
            conn = psycopg2.connect(URL)
            with conn:
                outbox.enqueue(conn, TOPIC, b"from psycopg2", key="1")
            conn.close()
            sink = f"kafka://{SERVERS}"
            with outtray.Relay(URL, sink, until_empty=True) as relay:
                relay.run()
                assert relay.stats().delivered == 2
    """,
    "psycopg": """
        import psycopg
        def work_psycopg():
            with psycopg.connect(URL) as conn:
                assert conn.execute("SELECT 6 * 7").fetchone() == (42,)
                assert psycopg.pq.__impl__ == "binary"
    """,
    "psycopg2": """
        import psycopg2
        def work_psycopg2():
            conn = psycopg2.connect(URL)
            cursor = conn.cursor()
            cursor.execute("SELECT 6 * 7")
            assert cursor.fetchone() == (42,)
            conn.close()
    """,
    "confluent_kafka": """
        import confluent_kafka
        def work_confluent_kafka():
            settings = {"bootstrap.servers": SERVERS, "group.id": TOPIC}
            settings |= {"auto.offset.reset": "earliest"}
            consumer = confluent_kafka.Consumer(settings)
            consumer.subscribe([TOPIC])
            got = []
            while len(got) < 2:
                message = consumer.poll(240)
                assert message is not None and message.error() is None
                got.append(message.value())
            consumer.close()
            assert got == [b"from psycopg", b"from psycopg2"]
    """,
    "ssl": """
        import ssl
        def work_ssl():
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(CERTIFICATE)
            client = ssl.create_default_context(cafile=CERTIFICATE)
            there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
            ends = [client.wrap_bio(back, there, server_hostname="localhost"),
                    server.wrap_bio(there, back, server_side=True)]
            for _ in range(4):
                for end in ends:
                    try:
                        end.do_handshake()
                    except ssl.SSLWantReadError:
                        pass
            ends[0].write(b"hello")
            assert ends[1].read() == b"hello"
    """,
    "sqlite3": """
        import sqlite3
        def work_sqlite3():
            url = "sqlite:beside.db"
            main(["init", "--store", url])
            conn = sqlite3.connect("beside.db")
            outbox = outtray.Outbox()
            with outtray.Relay(url, "null:") as relay:
                for n in range(3):
                    with conn:
                        outbox.enqueue(conn, "t", b"x", key="1")
                    while relay.stats().delivered <= n:
                        relay.step(0.1)
            assert conn.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    """,
}
# Each library works alone, then all have been used.
ORDER = ["psycopg", "psycopg2", "ssl", "outtray", "confluent_kafka", "sqlite3"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    command = "openssl req -x509 -nodes -newkey rsa:2048 -subj /CN=localhost"
    command += f" -addext subjectAltName=DNS:localhost -keyout {path} -out {path}.crt"
    run(*command.split())
    path.write_text(path.read_text() + pathlib.Path(f"{path}.crt").read_text())
    return path


@pytest.mark.parametrize("first", ["outtray first", "outtray last"])
def test_beside_the_others(first, beside, certificate, pg, kafka, tmp_path):
    """In one process with others that bring copies of the same libraries, each
    does its work, whoever was loaded first."""
    others = [name for name in WORK if name != "outtray"]
    loaded = ["outtray", *others] if "first" in first else [*others, "outtray"]
    topic = kafka.topic(1)
    parts = [
        f"URL, TOPIC, SERVERS = {pg.url!r}, {topic!r}, {kafka.bootstrap!r}",
        f"CERTIFICATE = {str(certificate)!r}",
        *(textwrap.dedent(WORK[name]) for name in loaded),
        *(f"work_{name}()" for name in ORDER),
        "assert 'outtray.libs' in open('/proc/self/maps').read()",
        "print('all done')",
    ]
    env = {**os.environ, "PYTHONPATH": str(beside)}
    text = run(sys.executable, "-c", "\n".join(parts), cwd=tmp_path, env=env)
    assert text.splitlines()[-1] == "all done"
