"""What to type about an error of the database that the outbox is the cause of."""

from __future__ import annotations

_MISSING = {"42P01", "3F000"}  # undefined table, undefined schema
_FORBIDDEN = "42501"


def advise(error: Exception, name: str) -> None:
    """Add a note to an error of the driver, which stays what it is."""
    # SQLAlchemy has the driver's own in orig, Django as the cause.
    found = (error, getattr(error, "orig", None), error.__cause__)
    states = {
        state
        for one in found
        for state in (getattr(one, "sqlstate", None), getattr(one, "pgcode", None))
    }
    if states & _MISSING or f"no such table: {name}_" in str(error):
        error.add_note(
            f"outtray: there is no outbox {name!r} in this database: make it with "
            "`outtray init` (in Django with `manage.py migrate`), or give Outbox "
            "the name that it has"
        )
    elif _FORBIDDEN in states:
        error.add_note(
            f"outtray: this role may not write into the outbox {name!r}: "
            "`outtray init --app-role ROLE` grants what it needs"
        )
