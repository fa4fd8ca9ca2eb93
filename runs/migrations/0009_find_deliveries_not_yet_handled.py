"""The sweeper finds deliveries that nobody handled without reading the others."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("runs", "0008_follow_schedules"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="delivery",
            index=models.Index(
                condition=models.Q(("status", "received")),
                fields=["created_at"],
                name="deliveries_not_yet_handled",
            ),
        ),
    ]
