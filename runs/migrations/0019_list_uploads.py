"""A project's uploads are listed newest first, all of them or those of which something was not taken."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("runs", "0018_wait_for_shards"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="upload",
            index=models.Index(fields=["project", "-id"], name="uploads_newest_first"),
        ),
        AddIndexConcurrently(
            model_name="upload",
            index=models.Index(
                condition=models.Q(("status__in", ["partial", "rejected"])),
                fields=["project", "-id"],
                name="uploads_with_losses",
            ),
        ),
    ]
