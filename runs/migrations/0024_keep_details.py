"""What reports tell of test cases besides outcomes gets a table in month partitions; of suites, a column.

As with results, the database's side is SQL and the model is state only.
"""

import django.db.models.deletion
from django.db import migrations, models

CREATE = """
CREATE TABLE runs_resultdetails (
    run_at timestamptz NOT NULL,
    run_id bigint NOT NULL,
    case_id bigint NOT NULL,
    number smallint NOT NULL,
    shard smallint NOT NULL CHECK (shard >= 0),
    attachment_count smallint NOT NULL CHECK (attachment_count >= 0),
    body bytea NOT NULL,
    CONSTRAINT runs_resultdetails_pkey PRIMARY KEY (case_id, run_at, run_id, number),
    CONSTRAINT details_are_numbered_from_one CHECK (number >= 1)
) PARTITION BY RANGE (run_at);
CREATE INDEX attachments_of_run ON runs_resultdetails (run_id) WHERE attachment_count > 0;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0023_find_former_names"),
    ]

    operations = [
        migrations.AddField(
            model_name="report",
            name="suite_properties",
            field=models.BinaryField(null=True),
        ),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(CREATE, "DROP TABLE runs_resultdetails")],
            state_operations=[
                migrations.CreateModel(
                    name="ResultDetails",
                    fields=[
                        (
                            "pk",
                            models.CompositePrimaryKey(
                                "case_id",
                                "run_at",
                                "run_id",
                                "number",
                                blank=True,
                                editable=False,
                                primary_key=True,
                                serialize=False,
                            ),
                        ),
                        ("run_at", models.DateTimeField()),
                        ("number", models.PositiveSmallIntegerField()),
                        ("shard", models.PositiveSmallIntegerField(default=1)),
                        ("attachment_count", models.PositiveSmallIntegerField(default=0)),
                        ("body", models.BinaryField()),
                        (
                            "case",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="details",
                                to="runs.testcase",
                            ),
                        ),
                        (
                            "run",
                            models.ForeignKey(
                                db_constraint=False,
                                db_index=False,
                                on_delete=django.db.models.deletion.DO_NOTHING,
                                related_name="details",
                                to="runs.run",
                            ),
                        ),
                    ],
                    options={
                        "indexes": [
                            models.Index(
                                condition=models.Q(("attachment_count__gt", 0)),
                                fields=["run"],
                                name="attachments_of_run",
                            )
                        ],
                        "constraints": [
                            models.CheckConstraint(
                                condition=models.Q(("number__gte", 1)), name="details_are_numbered_from_one"
                            )
                        ],
                    },
                ),
            ],
        ),
    ]
