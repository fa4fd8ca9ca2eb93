"""Make a token, in the database directly: for automation on the server.

Prints the secret once, alone on its line. Works beside a running `itdash up`, or with DATABASE_URL set.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime, timedelta

from itdash.cli._django import DATABASE_HINT, add_data_dir, set_up_django
from runs.vocabulary import Scope

UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "w": timedelta(weeks=1)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    actions = parser.add_subparsers(required=True, metavar="create")
    create = actions.add_parser("create", help="make a token")
    create.add_argument("--project", required=True, metavar="P", help="the project's address, its slug")
    create.add_argument(
        "--scopes",
        required=True,
        type=scopes,
        metavar="LIST",
        help=f"what it may do, with commas between: {', '.join(Scope)}",
    )
    create.add_argument(
        "--expires",
        type=duration,
        metavar="90d",
        help="when it ends: hours, days or weeks from now (12h, 90d, 4w)",
    )
    create.add_argument("--name", default="", help="what it is for, shown in the project's settings")
    add_data_dir(create)


def scopes(text: str) -> list[Scope]:
    """Read a list of scopes."""
    try:
        return [Scope(word.strip()) for word in text.split(",")]
    except ValueError as error:
        message = f"{error}: the scopes are {', '.join(Scope)}"
        raise argparse.ArgumentTypeError(message) from error


def duration(text: str) -> timedelta:
    """Read a number of hours, days or weeks."""
    found = re.fullmatch(r"(\d{1,5})([hdw])", text)
    if not found:
        message = f"“{text}” is no duration: write 12h, 90d or 4w"
        raise argparse.ArgumentTypeError(message)
    return int(found[1]) * UNITS[found[2]]


def run(options: argparse.Namespace) -> int:
    """Make the token; prints its secret."""
    set_up_django(options.data_dir)
    from django.db import DatabaseError  # noqa: PLC0415 - needs Django set up

    from runs.actions.errors import ActionError  # noqa: PLC0415 - needs Django set up
    from runs.actions.tokens import create_token  # noqa: PLC0415 - needs Django set up
    from runs.models import Project  # noqa: PLC0415 - needs Django set up

    try:
        project = Project.objects.filter(slug=options.project).first()
        if project is None:
            print(
                f"itdash: there is no project “{options.project}”. `itdash project create` makes one.",
                file=sys.stderr,
            )
            return 1
        made = create_token(
            project=project,
            scopes=options.scopes,
            name=options.name,
            expires_at=datetime.now(tz=UTC) + options.expires if options.expires else None,
        )
    except ActionError as error:
        print(f"itdash: {error}", file=sys.stderr)
        return 1
    except DatabaseError as error:
        print(f"itdash: {DATABASE_HINT} ({error})", file=sys.stderr)
        return 2
    print(made.secret)
    return 0
