"""Writes python/outtray/errors.py from error.def: the exceptions of Python.

python3 bindings/errors.py [FILE]
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "libcore/include/outtray/error.def"
TARGET = ROOT / "python/outtray/errors.py"

# A base for each class of the table.
BASES = {
    "CONFIG": ("ConfigError", "A setting or a URL is wrong."),
    "USAGE": ("UsageError", "The call is not allowed here."),
    "EVENT": ("EventError", "The event cannot be enqueued as it is."),
    "STORE": ("StoreError", "The database said no."),
    "SINK": ("SinkError", "The broker said no."),
    "STATE": ("StateError", "Something is not as the call needs it."),
    "RESOURCE": ("ResourceError", "The machine gives no more of something."),
    "BUG": ("BugError", "It is the fault of outtray."),
}
# Where the name alone would say too little, or is a base already.
NAMES = {
    "NOMEM": "OutOfMemory",
    "IO": "InputOutputFailed",
    "CONF": "InvalidConfig",
    "URL": "InvalidUrl",
    "INVALID_UTF8": "InvalidText",
    "STORE": "StoreFailed",
    "SINK": "SinkFailed",
}
# Exceptions that only Python has need of: name, base, text.
MORE = [
    (
        "TransactionFailed",
        "NotInTransaction",
        "An earlier statement has failed the transaction: only a rollback helps.",
    ),
    (
        "ConnectionClosed",
        "NotInTransaction",
        "The connection is closed: nothing can be written on it.",
    ),
    (
        "UnsupportedConnection",
        "Misuse",
        "This is no connection that outtray knows, or the wrong method for it.",
    ),
    (
        "NotSerializable",
        "InvalidEvent",
        "The serializer does not take the payload.",
    ),
]

HEAD = '''"""Every error, from the table of the core.

Made from libcore/include/outtray/error.def by bindings/errors.py; do not edit.

    OuttrayError
'''

BASE = '''"""

from __future__ import annotations

from typing import ClassVar


class OuttrayError(Exception):
    """What all errors of outtray are.

    Attributes:
        code: the number of the core, which an error keeps for ever.
        name: its name in the docs and in the output of the command.
        retryable: may the same call succeed later, with nobody changing
            anything?
        sqlstate: the database's own code, or None.
        native: the client library's own code, or 0.
        detail: all of these, and the message, as a dictionary.
    """

    code: ClassVar[int] = 0
    name: ClassVar[str] = ""
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str = "", *, sqlstate: str | None = None, native: int = 0
    ) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.native = native

    @property
    def detail(self) -> dict[str, str | int | bool | None]:
        """All of it, for a log or an answer in JSON."""
        return {
            "name": self.name,
            "code": self.code,
            "message": str(self),
            "retryable": self.retryable,
            "sqlstate": self.sqlstate,
            "native": self.native,
        }

'''

TAIL = '''

_BY_CODE: dict[int, type[OuttrayError]] = {{
{rows}}}


def from_core(
    code: int, message: str, sqlstate: str = "", native: int = 0
) -> OuttrayError:
    """The exception for an error that the core reported."""
    known = _BY_CODE.get(code, OuttrayError)
    return known(message, sqlstate=sqlstate or None, native=native)


__all__ = [
{names}]
'''


def table():
    """[(class name, base, doc, error name, code, retryable)]"""
    text = re.sub(r"/\*.*?\*/", "", TABLE.read_text(), flags=re.S)
    pattern = r'OUTTRAY_ERROR\((\w+),\s*(-\d+),\s*(\w+),\s*(\w+),\s*\d+,\s*"(.*?)"\)'
    rows = []
    for name, code, kind, retryable, doc in re.findall(pattern, text):
        known = NAMES.get(name, name.title().replace("_", ""))
        doc = doc[0].upper() + doc[1:] + "."
        rows.append((known, BASES[kind][0], doc, name, int(code), retryable == "true"))
    return rows


def one(name, base, doc, *attributes):
    lines = [f"\nclass {name}({base}):", f'    """{doc}"""', ""]
    lines += [f"    {line}" for line in attributes]
    return "\n".join(lines).rstrip() + "\n\n"


def tree(rows):
    for base, doc in BASES.values():
        yield f"     +- {base}: {doc}\n"
        for name, parent, *_ in rows:
            if parent == base:
                yield f"         +- {name}\n"
                for more, below, _ in MORE:
                    if below == name:
                        yield f"             +- {more}\n"


def write():
    rows = table()
    parts = [HEAD, *tree(rows), BASE]
    for base, doc in BASES.values():
        parts.append(one(base, "OuttrayError", doc))
    for name, base, doc, error, code, retryable in rows:
        attributes = [f"code = {code}", f'name = "{error}"']
        attributes += ["retryable = True"] * retryable
        parts.append(one(name, base, doc, *attributes))
    for name, base, doc in MORE:
        parts.append(one(name, base, doc))
    names = [base for base, _ in BASES.values()] + [row[0] for row in rows]
    names += [name for name, *_ in MORE] + ["OuttrayError"]
    parts.append(
        TAIL.format(
            rows="".join(f"    {row[4]}: {row[0]},\n" for row in rows),
            names="".join(f'    "{name}",\n' for name in sorted(names)),
        )
    )
    return "".join(parts).replace("\n\n\n\n", "\n\n\n")


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET
    target.write_text(write())
