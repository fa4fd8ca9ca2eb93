"""Whether an attempt still speaks of a failure's text is found by an index.

The table is partitioned: PostgreSQL builds no index concurrently on all partitions at once, so the parent
gets an empty one, each partition its own, and the two are joined.
"""

from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

INDEX = "attempts_of_failure"
COLUMNS = "(failure_id) WHERE failure_id IS NOT NULL"


def build(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Build the index without stopping writers; may be called again after it was interrupted."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"CREATE INDEX IF NOT EXISTS {INDEX} ON ONLY runs_attempt {COLUMNS}")
        # A partition made since the parent's index was has it already, under a name of PostgreSQL's choice.
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = 'runs_attempt'::regclass AND NOT EXISTS ("
            "SELECT FROM pg_inherits a JOIN pg_index x ON x.indexrelid = a.inhrelid "
            "WHERE a.inhparent = %s::regclass AND x.indrelid = i.inhrelid)",
            [INDEX],
        )
        for (partition,) in cursor.fetchall():
            own = f"{partition}_failure"
            cursor.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", [own])
            if cursor.fetchone() == (False,):
                cursor.execute(f'DROP INDEX CONCURRENTLY "{own}"')
            cursor.execute(f'CREATE INDEX CONCURRENTLY IF NOT EXISTS "{own}" ON "{partition}" {COLUMNS}')
            cursor.execute(f'ALTER INDEX {INDEX} ATTACH PARTITION "{own}"')


def drop(_apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop it, and with it each partition's."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {INDEX}")


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("runs", "0020_pin_runs"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(build, drop)],
            state_operations=[
                migrations.AddIndex(
                    model_name="attempt",
                    index=models.Index(
                        condition=models.Q(("failure__isnull", False)),
                        fields=["failure"],
                        name=INDEX,
                    ),
                )
            ],
        )
    ]
