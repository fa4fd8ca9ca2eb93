"""Make a project, in the database directly: for automation on the server.

Works beside a running `itdash up`, or with DATABASE_URL set.
"""

from __future__ import annotations

import argparse
import sys

from itdash.cli._django import DATABASE_HINT, add_data_dir, set_up_django


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(required=True, metavar="create")
    create = actions.add_parser("create", help="make a project")
    create.add_argument("slug", metavar="SLUG", help="its address: lower-case letters, digits, hyphens")
    create.add_argument("--name", default="", help="its name for people (default: the slug)")
    create.add_argument(
        "--repository", default="", metavar="URL", help="where to check out from: a local path, https or ssh"
    )
    create.add_argument("--branch", default="main", help="its default branch (default: %(default)s)")
    create.add_argument(
        "--allow-local-engine",
        action="store_true",
        help="let its suites run as processes of this machine: only for code that is trusted",
    )
    add_data_dir(create)


def run(options: argparse.Namespace) -> int:
    """Make the project; prints its slug."""
    set_up_django(options.data_dir)
    from django.db import DatabaseError  # noqa: PLC0415 - needs Django set up

    from runs.actions.errors import ActionError  # noqa: PLC0415 - needs Django set up
    from runs.actions.projects import create_project  # noqa: PLC0415 - needs Django set up

    try:
        project = create_project(
            slug=options.slug,
            name=options.name,
            repository_url=options.repository,
            default_branch=options.branch,
            allow_local_engine=options.allow_local_engine,
        )
    except ActionError as error:
        print(f"itdash: {error}", file=sys.stderr)
        return 1
    except DatabaseError as error:
        print(f"itdash: {DATABASE_HINT} ({error})", file=sys.stderr)
        return 2
    print(project.slug)
    return 0
