"""How often each failure group was seen in each run, made once of what there is."""

import django.db.models.deletion
from django.db import migrations, models

COUNT = """
INSERT INTO runs_grouprun (project_id, fingerprint, run_at, run_id, failed_count, flaky_count)
SELECT f.project_id, f.fingerprint, e.run_at, e.run_id,
       sum(e.failed), sum(e.flaky)
FROM (
    SELECT r.run_at, r.run_id, r.failure_id, count(*) FILTER (WHERE r.outcome <> 'flaky') AS failed,
           count(*) FILTER (WHERE r.outcome = 'flaky') AS flaky
    FROM runs_result r
    WHERE r.outcome IN ('failed', 'errored', 'flaky') AND r.failure_id IS NOT NULL
    GROUP BY 1, 2, 3
) e
JOIN runs_failure f ON f.id = e.failure_id
JOIN runs_run u ON u.id = e.run_id
WHERE u.counted_on_default IS NOT NULL
GROUP BY 1, 2, 3, 4
ORDER BY 1, 2, 3, 4;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0024_keep_details"),
    ]

    operations = [
        migrations.CreateModel(
            name="GroupRun",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id",
                        "fingerprint",
                        "run_at",
                        "run_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("fingerprint", models.BinaryField(max_length=16)),
                ("run_at", models.DateTimeField()),
                ("failed_count", models.PositiveIntegerField(default=0)),
                ("flaky_count", models.PositiveIntegerField(default=0)),
                (
                    "project",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="group_runs",
                        to="runs.project",
                    ),
                ),
                (
                    "run",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="group_runs",
                        to="runs.run",
                    ),
                ),
            ],
            options={
                "verbose_name": "failure group's run",
                "indexes": [models.Index(fields=["run"], name="groups_of_run")],
            },
        ),
        migrations.RunSQL(COUNT, migrations.RunSQL.noop),
    ]
