"""Leave room beside the counts of a month, so that the next run's are written where the last were."""

from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    """Pages from now on are filled to the half; those that exist stay as they are."""

    dependencies = [("runs", "0025_count_failure_groups")]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE runs_casemonth SET (fillfactor = 50)",
            "ALTER TABLE runs_casemonth RESET (fillfactor)",
        )
    ]
