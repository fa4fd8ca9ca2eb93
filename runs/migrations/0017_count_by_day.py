"""Counts by day of test cases, suites and services, made once of what there is.

Rows are updated in place with every run, so pages keep room for their next versions.
"""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

FILL = """
ALTER TABLE runs_casemonth SET (fillfactor = 45);
ALTER TABLE runs_suiteday SET (fillfactor = 50);
ALTER TABLE runs_serviceday SET (fillfactor = 50);
"""
FINISHED = "('passed', 'failed', 'errored', 'cancelled', 'timed_out')"
COUNT_SUITES = f"""
UPDATE runs_run r SET counted_on_default = (r.branch = p.default_branch AND r.pull_request = '')
FROM runs_project p WHERE p.id = r.project_id AND r.status IN {FINISHED};
INSERT INTO runs_suiteday (
    suite_id, day, is_default_branch, run_count, failed_run_count, errored_run_count, timed_run_count,
    duration_ms, result_count, failed_count, errored_count, skipped_count, flaky_count)
SELECT suite_id, (run_at AT TIME ZONE 'UTC')::date, counted_on_default, count(*),
       count(*) FILTER (WHERE verdict = 'fail'), count(*) FILTER (WHERE status = 'errored'),
       count(duration_ms), coalesce(sum(duration_ms), 0), sum(test_count), sum(failed_count),
       sum(errored_count), sum(skipped_count), sum(flaky_count)
FROM runs_run WHERE counted_on_default IS NOT NULL GROUP BY 1, 2, 3;
"""  # noqa: S608 - of constants


def _days(count: str) -> str:
    each = ", ".join(
        f"least(sum({count}) FILTER (WHERE day = {day}), 32767)::smallint" for day in range(1, 32)
    )
    return f"ARRAY[{each}]"


COUNT_CASES = f"""
INSERT INTO runs_casemonth (case_id, month, results, failed, flaky, skipped, timed_count, timed_ms)
SELECT case_id, month, {_days("results")},
       CASE WHEN sum(failed) > 0 THEN {_days("failed")} END,
       CASE WHEN sum(flaky) > 0 THEN {_days("flaky")} END,
       CASE WHEN sum(skipped) > 0 THEN {_days("skipped")} END,
       sum(timed_count), sum(timed_ms)
FROM (
    SELECT e.case_id, date_trunc('month', e.run_at AT TIME ZONE 'UTC')::date AS month,
           extract(day FROM e.run_at AT TIME ZONE 'UTC') AS day, count(*) AS results,
           count(*) FILTER (WHERE e.outcome IN ('failed', 'errored')) AS failed,
           count(*) FILTER (WHERE e.outcome = 'flaky') AS flaky,
           count(*) FILTER (WHERE e.outcome = 'skipped') AS skipped,
           count(e.duration_ms) FILTER (WHERE e.outcome = 'passed') AS timed_count,
           coalesce(sum(e.duration_ms) FILTER (WHERE e.outcome = 'passed'), 0) AS timed_ms
    FROM runs_result e JOIN runs_run r ON r.id = e.run_id
    WHERE r.counted_on_default IS NOT NULL
    GROUP BY 1, 2, 3
) d
GROUP BY case_id, month;
"""  # noqa: S608 - of constants
COUNT_SERVICES = """
INSERT INTO runs_serviceday (project_id, day, is_total, service, failure_count)
SELECT project_id, (run_at AT TIME ZONE 'UTC')::date, true, '', count(*) FROM runs_blame GROUP BY 1, 2
UNION ALL
SELECT project_id, (run_at AT TIME ZONE 'UTC')::date, false, left(service, 250), count(*)
FROM runs_blame, unnest(CASE WHEN cardinality(services) = 0 THEN ARRAY[''] ELSE services END) AS service
GROUP BY 1, 2, 4;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0016_narrow_results"),
    ]

    operations = [
        migrations.AddField(
            model_name="run",
            name="counted_on_default",
            field=models.BooleanField(blank=True, editable=False, null=True),
        ),
        migrations.CreateModel(
            name="CaseMonth",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "case_id", "month", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("month", models.DateField()),
                (
                    "results",
                    django.contrib.postgres.fields.ArrayField(base_field=models.SmallIntegerField(null=True)),
                ),
                (
                    "failed",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(null=True), null=True
                    ),
                ),
                (
                    "flaky",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(null=True), null=True
                    ),
                ),
                (
                    "skipped",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.SmallIntegerField(null=True), null=True
                    ),
                ),
                ("timed_count", models.PositiveIntegerField(default=0)),
                ("timed_ms", models.PositiveBigIntegerField(default=0)),
                (
                    "case",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="months",
                        to="runs.testcase",
                    ),
                ),
            ],
            options={
                "verbose_name": "test case's month",
            },
        ),
        migrations.CreateModel(
            name="SuiteDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "suite_id",
                        "day",
                        "is_default_branch",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("day", models.DateField()),
                ("is_default_branch", models.BooleanField()),
                ("run_count", models.PositiveIntegerField(default=0)),
                ("failed_run_count", models.PositiveIntegerField(default=0)),
                ("errored_run_count", models.PositiveIntegerField(default=0)),
                ("timed_run_count", models.PositiveIntegerField(default=0)),
                ("duration_ms", models.PositiveBigIntegerField(default=0)),
                ("result_count", models.PositiveBigIntegerField(default=0)),
                ("failed_count", models.PositiveBigIntegerField(default=0)),
                ("errored_count", models.PositiveBigIntegerField(default=0)),
                ("skipped_count", models.PositiveBigIntegerField(default=0)),
                ("flaky_count", models.PositiveBigIntegerField(default=0)),
                (
                    "suite",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="days",
                        to="runs.suite",
                    ),
                ),
            ],
            options={
                "verbose_name": "suite's day",
            },
        ),
        migrations.CreateModel(
            name="ServiceDay",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id",
                        "day",
                        "is_total",
                        "service",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("day", models.DateField()),
                ("is_total", models.BooleanField(default=False)),
                ("service", models.TextField(blank=True, default="")),
                ("failure_count", models.PositiveIntegerField(default=0)),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="service_days",
                        to="runs.project",
                    ),
                ),
            ],
            options={
                "verbose_name": "service's day",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("is_total", False), ("service", ""), _connector="OR"),
                        name="a_total_is_of_no_service",
                    )
                ],
            },
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL([COUNT_SUITES, COUNT_CASES, COUNT_SERVICES], migrations.RunSQL.noop),
    ]
