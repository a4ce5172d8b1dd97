#!/usr/bin/env python3
"""Scratch PostgreSQL and Kafka servers: loopback only, free ports, own
folders, as root or as a normal user.

    servers.py pg start DIR [VERSION]    VERSION: system, or one of the Maven
                                         repository, such as 17.11.0
    servers.py pg stop|kill|pause|continue|env DIR
    servers.py kafka fetch               the jars, once, into the cache
    servers.py kafka start DIR [NODES]
    servers.py kafka stop|env DIR
    servers.py kafka halt|boot|kill|pause|continue DIR NODE

`start` prints what `env` prints: lines for eval. A program that imports this
module gets servers that end with it; the command line's stay until `stop`.
"""

import pathlib
import sys

from kafka_server import Kafka, fetch_jars
from pg_server import Postgres


def pg(verb, folder, version="system"):
    server = Postgres(folder, version)
    if verb == "start":
        server.start(bound=False)
    elif verb in ("stop", "kill", "pause"):
        getattr(server, verb)()
    elif verb == "continue":
        server.resume()
    elif verb != "env":
        sys.exit(__doc__)
    if verb in ("start", "env"):
        print(f"OUTTRAY_TEST_PG={server.url}")


def kafka(verb, folder=None, number=None):
    if verb == "fetch":
        fetch_jars()
        return
    if folder is None:
        sys.exit(__doc__)
    if verb == "start":
        server = Kafka(folder, int(number or 1))
        server.start(bound=False)
    else:
        server = Kafka.load(folder)
    if verb == "stop":
        server.stop()
    elif verb in ("halt", "boot", "kill", "pause", "continue"):
        node = server.nodes[int(number) - 1]
        verb = {"continue": "resume"}.get(verb, verb)
        if verb == "boot":
            node.boot(bound=False)
        else:
            getattr(node, verb)()
    elif verb not in ("start", "env"):
        sys.exit(__doc__)
    if verb in ("start", "env"):
        print(f"OUTTRAY_TEST_KAFKA={server.bootstrap}")


def main(argv):
    kinds = {"pg": pg, "kafka": kafka}
    if len(argv) < 2 or argv[0] not in kinds:
        sys.exit(__doc__)
    kind, verb, *rest = argv
    if rest:
        rest[0] = pathlib.Path(rest[0]).absolute()
    kinds[kind](verb, *rest)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except RuntimeError as error:
        sys.exit(f"servers.py: {error}")
