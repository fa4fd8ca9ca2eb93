"""Results get narrower: an enumeration for the outcome, and two indexes that do the work of three.

The primary key begins with the case now and answers a case's history as well; the rows of a run are found
by an index on the run alone, which PostgreSQL keeps at some six bytes a row because its keys repeat. Both
rewrite the tables once: nothing is read or written meanwhile, a minute or two for twenty million results.
"""

from django.db import migrations, models

from runs.models.fields import OutcomeField

NARROW = """
CREATE TYPE runs_outcome AS ENUM ('passed', 'failed', 'errored', 'skipped', 'flaky');
DROP INDEX notable_results_of_run;
DROP INDEX results_of_case;
ALTER TABLE runs_result
    DROP CONSTRAINT a_result_has_a_known_outcome,
    DROP CONSTRAINT runs_result_pkey,
    ALTER COLUMN outcome TYPE runs_outcome USING outcome::runs_outcome;
ALTER TABLE runs_result ADD CONSTRAINT runs_result_pkey PRIMARY KEY (case_id, run_at, run_id);
CREATE INDEX results_of_run ON runs_result (run_id);
CREATE INDEX notable_results_of_run ON runs_result (run_id, outcome) WHERE NOT (outcome = 'passed');
"""
WIDEN = """
DROP INDEX notable_results_of_run;
DROP INDEX results_of_run;
ALTER TABLE runs_result
    DROP CONSTRAINT runs_result_pkey,
    ALTER COLUMN outcome TYPE varchar(7) USING outcome::text;
ALTER TABLE runs_result
    ADD CONSTRAINT runs_result_pkey PRIMARY KEY (run_at, run_id, case_id),
    ADD CONSTRAINT a_result_has_a_known_outcome
        CHECK (outcome IN ('passed', 'failed', 'errored', 'skipped', 'flaky'));
CREATE INDEX results_of_case ON runs_result (case_id, run_at DESC);
CREATE INDEX notable_results_of_run ON runs_result (run_id, outcome) WHERE NOT (outcome = 'passed');
DROP TYPE runs_outcome;
"""


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0015_grant_projects_more"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(NARROW, WIDEN)],
            state_operations=[
                migrations.RemoveConstraint(model_name="result", name="a_result_has_a_known_outcome"),
                migrations.RemoveIndex(model_name="result", name="results_of_case"),
                migrations.AlterField(model_name="result", name="outcome", field=OutcomeField()),
                migrations.AddIndex(
                    model_name="result", index=models.Index(fields=["run"], name="results_of_run")
                ),
            ],
        )
    ]
