"""What the owner of a subscription says of itself."""

from typing import Any, ClassVar

from django.db import migrations

from outtray.django.operations import OutboxSchema


class Migration(migrations.Migration):
    atomic = False  # see OutboxSchema

    dependencies: ClassVar[list[Any]] = [("outtray", "0001_outbox")]

    operations: ClassVar[list[Any]] = [
        OutboxSchema(2),
    ]
