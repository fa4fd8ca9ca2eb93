"""Results and attempts live in month partitions by `run_at`.

Django cannot create partitioned tables, so the database's side is SQL and the models are state only.
Partitions themselves are made ahead of time by `runs.actions.partitions`.
"""

import django.db.models.deletion
from django.db import migrations, models

CREATE_RESULTS = """
CREATE TABLE runs_result (
    run_at timestamptz NOT NULL,
    run_id bigint NOT NULL,
    case_id bigint NOT NULL,
    failure_id bigint,
    duration_ms integer CHECK (duration_ms >= 0),
    position integer NOT NULL CHECK ("position" >= 0),
    shard smallint NOT NULL CHECK (shard >= 0),
    attempt_count smallint NOT NULL CHECK (attempt_count >= 0),
    outcome varchar(7) NOT NULL,
    CONSTRAINT runs_result_pkey PRIMARY KEY (run_at, run_id, case_id),
    CONSTRAINT a_result_has_a_known_outcome
        CHECK (outcome IN ('passed', 'failed', 'errored', 'skipped', 'flaky'))
) PARTITION BY RANGE (run_at);
CREATE INDEX results_of_case ON runs_result (case_id, run_at DESC);
CREATE INDEX notable_results_of_run ON runs_result (run_id, outcome) WHERE NOT (outcome = 'passed');
"""

CREATE_ATTEMPTS = """
CREATE TABLE runs_attempt (
    run_at timestamptz NOT NULL,
    run_id bigint NOT NULL,
    case_id bigint NOT NULL,
    failure_id bigint,
    duration_ms integer CHECK (duration_ms >= 0),
    number smallint NOT NULL,
    outcome varchar(7) NOT NULL,
    output text NOT NULL,
    CONSTRAINT runs_attempt_pkey PRIMARY KEY (run_at, run_id, case_id, number),
    CONSTRAINT an_attempt_has_a_known_outcome
        CHECK (outcome IN ('passed', 'failed', 'errored', 'skipped')),
    CONSTRAINT attempts_are_numbered_from_one CHECK (number >= 1)
) PARTITION BY RANGE (run_at);
"""


class Migration(migrations.Migration):
    dependencies = [("runs", "0001_initial")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(CREATE_RESULTS, "DROP TABLE runs_result"),
                migrations.RunSQL(CREATE_ATTEMPTS, "DROP TABLE runs_attempt"),
            ],
            state_operations=[
                migrations.CreateModel(
                    name="Attempt",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "run_at",
                                "run_id",
                                "case_id",
                                "number",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("run_at", models.DateTimeField()),
                        ("number", models.PositiveSmallIntegerField()),
                        ("outcome", models.CharField(max_length=7)),
                        ("duration_ms", models.PositiveIntegerField(null=True)),
                        ("output", models.TextField(blank=True, default="")),
                        (
                            "case",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="attempts",
                                to="runs.testcase",
                            ),
                        ),
                        (
                            "failure",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="attempts",
                                to="runs.failure",
                            ),
                        ),
                        (
                            "run",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="attempts",
                                to="runs.run",
                            ),
                        ),
                    ],
                    options={
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    ("outcome__in", ["passed", "failed", "errored", "skipped"])
                                ),
                                name="an_attempt_has_a_known_outcome",
                            ),
                            models.CheckConstraint(
                                condition=models.Q(("number__gte", 1)), name="attempts_are_numbered_from_one"
                            ),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name="Result",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "run_at",
                                "run_id",
                                "case_id",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("run_at", models.DateTimeField()),
                        ("duration_ms", models.PositiveIntegerField(null=True)),
                        ("position", models.PositiveIntegerField(default=0)),
                        ("shard", models.PositiveSmallIntegerField(default=1)),
                        ("attempt_count", models.PositiveSmallIntegerField(default=1)),
                        ("outcome", models.CharField(max_length=7)),
                        (
                            "case",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="results",
                                to="runs.testcase",
                            ),
                        ),
                        (
                            "failure",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                null=True,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="results",
                                to="runs.failure",
                            ),
                        ),
                        (
                            "run",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="results",
                                to="runs.run",
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(fields=["case", "-run_at"], name="results_of_case"),
                            models.Index(
                                condition=models.Q(("outcome", "passed"), _negated=True),
                                fields=["run", "outcome"],
                                name="notable_results_of_run",
                            ),
                        ],
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(
                                    ("outcome__in", ["passed", "failed", "errored", "skipped", "flaky"])
                                ),
                                name="a_result_has_a_known_outcome",
                            )
                        ],
                    },
                ),
            ],
        ),
    ]
