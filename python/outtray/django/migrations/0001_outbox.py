"""The outbox, and the model by which the admin shows what is undelivered."""

from typing import Any, ClassVar

from django.db import migrations, models

from outtray.django.operations import OutboxSchema


class Migration(migrations.Migration):
    initial = True
    atomic = False  # see OutboxSchema

    dependencies: ClassVar[list[Any]] = []

    operations: ClassVar[list[Any]] = [
        OutboxSchema(1),
        migrations.CreateModel(
            name="Undelivered",
            fields=[
                (
                    "id",
                    models.CharField(
                        editable=False,
                        max_length=90,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("subscription", models.CharField(max_length=63)),
                ("seq", models.BigIntegerField()),
                (
                    "event_id",
                    models.CharField(max_length=36, null=True, verbose_name="event"),
                ),
                ("topic", models.CharField(max_length=249, null=True)),
                ("key", models.CharField(max_length=1024, null=True)),
                ("type", models.CharField(max_length=255, null=True)),
                ("headers", models.TextField(null=True)),
                (
                    "payload_bytes",
                    models.BigIntegerField(null=True, verbose_name="payload, bytes"),
                ),
                ("created_at", models.DateTimeField(null=True)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("pending", "pending"),
                            ("retrying", "retrying"),
                            ("waiting", "waiting for its destination"),
                            ("blocked", "blocked behind its key"),
                            ("scheduled", "scheduled"),
                            ("dead", "dead"),
                        ],
                        max_length=9,
                    ),
                ),
                ("attempts", models.IntegerField()),
                ("next_attempt_at", models.DateTimeField(null=True)),
                ("last_error_at", models.DateTimeField(null=True)),
                ("error", models.TextField(null=True)),
            ],
            options={
                "verbose_name": "undelivered event",
                "verbose_name_plural": "undelivered events",
                "db_table": "outtray_undelivered",
                "permissions": [("redrive_undelivered", "Can send dead events again")],
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
