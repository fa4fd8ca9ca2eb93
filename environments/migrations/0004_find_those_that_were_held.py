"""Find environments that were held by when that ended, without reading the rest."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("environments", "0003_hold_failed_ones")]

    operations = [
        AddIndexConcurrently(
            model_name="environment",
            index=models.Index(
                condition=models.Q(("held_until__isnull", False)),
                fields=["held_until"],
                name="environment_held",
            ),
        ),
    ]
