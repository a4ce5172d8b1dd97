"""Undelivered events in the admin: to be looked at, and sent again."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db import connections, transaction
from django.db.models import Q
from django.utils.functional import cached_property

from .conf import configured
from .models import Undelivered

#: Redriven as they are; a retrying one is tried now.
_REDRIVEN = ("dead", "retrying")


class _Pages(Paginator):
    """Counts no further than anybody reads."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list[:10_001].count())


class _InOrder(ChangeList):
    """By seq is total: the admin need not add the primary key."""

    def _get_deterministic_ordering(self, ordering: Any) -> Any:
        return [*ordering, "seq", "subscription"]


@admin.register(Undelivered)
class UndeliveredAdmin(admin.ModelAdmin):
    """Read-only; redriving needs the permission of that name."""

    list_display = (
        "event_id",
        "state",
        "topic",
        "key",
        "created_at",
        "attempts",
        "next_attempt_at",
        "short_error",
        "subscription",
    )
    list_filter = ("state", "subscription")
    search_fields = ("event_id__startswith", "key__exact", "topic__startswith")
    search_help_text = "event id, key or beginning of a topic"
    actions = ("redrive",)
    ordering = ("seq",)
    paginator = _Pages
    show_full_result_count = False

    def get_changelist(self, request: Any, **kwargs: Any) -> Any:
        return _InOrder

    @admin.display(description="error")
    def short_error(self, event: Any) -> str:
        text = event.error or ""
        return text if len(text) <= 80 else text[:79] + "…"

    def get_queryset(self, request: Any) -> Any:
        alias = configured().databases[0]
        return Undelivered.objects.using(alias).order_by("seq")

    def has_add_permission(self, request: Any, *_: Any) -> bool:
        return False

    def has_change_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: Any, obj: Any = None) -> bool:
        return False

    def has_redrive_permission(self, request: Any) -> bool:
        return bool(request.user.has_perm("outtray.redrive_undelivered"))

    @admin.action(
        permissions=["redrive"], description="Redrive: send dead events again"
    )
    def redrive(self, request: Any, queryset: Any) -> None:
        """Asks the relay, as ``outtray redrive`` does."""
        asked = redrive(queryset, str(request.user))
        other = queryset.exclude(state__in=_REDRIVEN).count()
        if asked:
            when = "now" if _relay_runs(queryset) else "when a relay runs again"
            self.message_user(
                request,
                f"{asked} {'event' if asked == 1 else 'events'} will be sent again, "
                f"{when}.",
                messages.SUCCESS,
            )
        if other:
            self.message_user(
                request,
                f"{other} left alone: only dead and retrying events can be redriven.",
                messages.WARNING,
            )


def _names(queryset: Any) -> tuple[Any, str]:
    conn = connections[queryset.db]
    name = configured().name
    return conn, f'"{name}".' if conn.vendor == "postgresql" else f"{name}_"


def redrive(queryset: Any, asked_by: str) -> int:
    """Ask the owner to send the dead and the retrying ones of these again;
    returns how many there are."""
    conn, prefix = _names(queryset)
    events = queryset.filter(Q(state__in=_REDRIVEN))
    with transaction.atomic(using=conn.alias), conn.cursor() as cursor:
        rows = [
            (subscription, "redrive", seq, asked_by)
            for subscription, seq in events.values_list("subscription", "seq")
        ]
        cursor.executemany(
            f"INSERT INTO {prefix}command (subscription, verb, argument, asked_by) "
            "VALUES (%s, %s, %s, %s)",
            rows,
        )
    return len(rows)


def _relay_runs(queryset: Any) -> bool:
    conn, prefix = _names(queryset)
    with conn.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {prefix}status WHERE lease_live")
        return bool(cursor.fetchone()[0])
