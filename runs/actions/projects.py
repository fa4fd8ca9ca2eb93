"""Make and change projects, their suites and members."""

from __future__ import annotations

from django.core.validators import validate_slug
from django.db import IntegrityError, transaction
from django.forms import ValidationError

from runs.actions.errors import InvalidValueError, TakenError
from runs.models import Membership, Project, Suite, Team, User
from runs.vocabulary import Level, Role, Visibility

DEFAULT_TEAM = "team"
SLUG_LIMIT = 60


def create_project(
    *,
    slug: str,
    name: str = "",
    repository_url: str = "",
    default_branch: str = "main",
    visibility: Visibility = Visibility.PRIVATE,
    allow_local_engine: bool = False,
    variables: dict[str, str] | None = None,
    by: User | None = None,
) -> Project:
    """Make a project in the installation's team; `by` becomes its administrator.

    Raises:
        InvalidValueError: the slug is no address.
        TakenError: a project of that slug exists.
    """
    _refuse_bad_slug(slug)
    try:
        with transaction.atomic():
            team, _ = Team.objects.get_or_create(slug=DEFAULT_TEAM, defaults={"name": "Team"})
            project = Project.objects.create(
                team=team,
                slug=slug,
                name=name or slug,
                repository_url=repository_url,
                default_branch=default_branch,
                visibility=visibility,
                allow_local_engine=allow_local_engine,
                variables=variables or {},
            )
            if by is not None:
                Membership.objects.create(project=project, user=by, role=Role.ADMIN)
    except IntegrityError as error:
        message = f"A project with the address “{slug}” exists already. Choose another."
        raise TakenError(message) from error
    return project


def ensure_suite(*, project: Project, name: str, level: Level = Level.INTEGRATION, path: str = "") -> Suite:
    """Find the project's suite of that name, or make it.

    Raises:
        InvalidValueError: the name is empty or too long.
    """
    name = name.strip()
    limit = 120
    if not name or len(name) > limit or not name.isprintable():
        message = f"A suite's name has 1 to {limit} printable characters."
        raise InvalidValueError("suite", message)
    suite, _ = Suite.objects.get_or_create(
        project=project, name=name, defaults={"level": level, "path": path}
    )
    return suite


def _refuse_bad_slug(slug: str) -> None:
    try:
        validate_slug(slug)
    except ValidationError:
        fits = False
    else:
        fits = len(slug) <= SLUG_LIMIT and slug == slug.lower()
    if not fits:
        message = (
            f"“{slug}” cannot be a project's address. Use up to {SLUG_LIMIT} lower-case letters, digits, "
            "hyphens and underscores."
        )
        raise InvalidValueError("slug", message)
