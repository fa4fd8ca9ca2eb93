"""Migrations: one line of history, nothing missing, safe to apply, and each undone and done again."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django_migration_linter import MigrationLinter

APPS = ["environments", "runs"]
#: These make their tables, so what the linter fears for rows and readers cannot happen to them.
ON_NEW_TABLES = [("runs", "0002_partition_results"), ("runs", "0024_keep_details")]
#: The first migrations make empty tables: what the linter fears for them cannot happen yet.
BEFORE_ANY_DATA = {
    ("environments", "0001_initial"),
    ("runs", "0001_initial"),
    ("runs", "0002_partition_results"),
}


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, stdout=StringIO())


@pytest.mark.parametrize("app", APPS)
def test_history_is_one_line(app: str) -> None:
    graph = MigrationLoader(None).graph
    ours = sorted(key for key in graph.nodes if key[0] == app)

    parents = [[parent.key for parent in graph.node_map[key].parents if parent.key[0] == app] for key in ours]

    assert len(graph.leaf_nodes(app)) == 1
    assert parents == [[], *[[earlier] for earlier in ours[:-1]]]


@pytest.mark.django_db(transaction=True)  # indexes are built concurrently, which no transaction may hold
def test_every_migration_can_be_applied_while_the_application_runs() -> None:
    linter = MigrationLinter(no_cache=True, no_output=True)
    graph = MigrationLoader(connection).graph
    ours = sorted(key for key in graph.nodes if key[0] in APPS)

    unsafe = []
    for key in ours:
        seen = linter.nb_erroneous
        linter.lint_migration(graph.nodes[key])
        if linter.nb_erroneous > seen:
            unsafe.append(key)

    assert unsafe == ON_NEW_TABLES


@pytest.mark.django_db(transaction=True)
def test_every_migration_is_undone_and_done_again() -> None:
    graph = MigrationExecutor(connection).loader.graph
    newest = graph.leaf_nodes()
    before = _tables()
    try:
        for app in APPS:
            for key in sorted((key for key in graph.nodes if key[0] == app), reverse=True):
                earlier = [parent.key for parent in graph.node_map[key].parents if parent.key[0] == app]
                MigrationExecutor(connection).migrate(earlier or [(app, None)])
        assert not [table for table in _tables() if table.startswith(("runs_", "environments_"))]
    finally:
        MigrationExecutor(connection).migrate(newest)
    assert _tables() == before


def _tables() -> list[str]:
    return sorted(connection.introspection.table_names())
