"""Cases and failures are looked up by their digest and by nothing else, and not checked row by row.

The indexes on `suite_id` and `project_id` alone made PostgreSQL read a whole suite for every case when its
statistics were old (docs/decisions/0055); the unique indexes begin with the same columns.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("runs", "0002_partition_results")]

    operations = [
        migrations.AlterField(
            model_name="failure",
            name="project",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="failures",
                to="runs.project",
            ),
        ),
        migrations.AlterField(
            model_name="testcase",
            name="suite",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="cases",
                to="runs.suite",
            ),
        ),
    ]
