"""The application of Django."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class OuttrayConfig(AppConfig):
    """``"outtray.django"`` in INSTALLED_APPS."""

    name = "outtray.django"
    label = "outtray"
    verbose_name = "Outbox"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from .checks import check_databases, check_settings

        checks.register(check_settings)
        checks.register(check_databases, checks.Tags.database)
