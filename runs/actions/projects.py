"""Make and change projects, their suites and members."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from django.core.validators import validate_slug
from django.db import IntegrityError, transaction
from django.forms import ValidationError

from runs.actions.audit import note_change
from runs.actions.errors import InvalidValueError, NotPossibleError, TakenError
from runs.models import Membership, Project, Suite, Team, User
from runs.queries.project_settings import without_credentials
from runs.vocabulary import Level, Role, Visibility

DEFAULT_TEAM = "team"
SLUG_LIMIT = 60
NAME_LIMIT: Final = 120
ADDRESS_LIMIT: Final = 1000
BRANCH_LIMIT: Final = 250
VARIABLES_LIMIT: Final = 200
#: Characters.
VALUE_LIMIT: Final = 8000
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
#: What a checkout can be made from: an absolute path, a URL with a host, or user@host:path.
_REPOSITORY: Final = re.compile(r"/\S.*|file:///\S+|(?:https?|ssh|git)://[^\s/]\S*|[\w.+-]+@[\w.-]+:\S+")
#: What git lets no branch be called, and what it would take for an option.
_NO_BRANCH: Final = re.compile(r"^[-/.]|[\s~^:?*\[\\\x00-\x1f\x7f]|\.\.|@\{|//|[/.]$|\.lock$")


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
    """Make a project in the installation's team; `by` becomes its administrator. Its name may be its slug.

    Raises:
        InvalidValueError: a value that cannot be; its field is named.
        TakenError: a project of that slug exists.
    """
    _refuse_bad_slug(slug)
    _refuse_bad_name(name or slug)
    _refuse_bad_repository(repository_url)
    _refuse_bad_branch(default_branch)
    _refuse_bad_variables(variables or {})
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
            note_change(project, by=by, action="project.made", subject=project.name)
    except IntegrityError as error:
        message = f"A project with the address “{slug}” exists already. Choose another."
        raise TakenError(message) from error
    return project


def update_project(
    *,
    project_id: int,
    name: str,
    repository_url: str,
    default_branch: str,
    visibility: Visibility,
    allow_local_engine: bool,
    variables: Mapping[str, str],
    by: User,
) -> Project:
    """Change what a project is called, where its code is and what its runs get.

    Raises:
        InvalidValueError: a value that cannot be; its field is named.
        NotPossibleError: someone who does not administer the installation wants to allow the local engine,
            which runs code as the workers' own user.
    """
    _refuse_bad_name(name)
    _refuse_bad_repository(repository_url)
    _refuse_bad_branch(default_branch)
    _refuse_bad_variables(variables)
    with transaction.atomic():
        project = Project.objects.select_for_update(no_key=True).get(pk=project_id)
        if allow_local_engine and not project.allow_local_engine and not by.is_superuser:
            message = "Only the installation's administrator may allow the local engine: it is their machine."
            raise NotPossibleError(message)
        before = _values(project)
        project.name = name
        project.repository_url = repository_url
        project.default_branch = default_branch
        project.visibility = visibility
        project.allow_local_engine = allow_local_engine
        project.variables = dict(variables)
        project.save(
            update_fields=[
                "name",
                "repository_url",
                "default_branch",
                "visibility",
                "allow_local_engine",
                "variables",
            ]
        )
        changes = _told(before, _values(project))
        if changes:
            note_change(project, by=by, action="project.changed", subject=project.name, data=changes)
    return project


def _values(project: Project) -> dict[str, Any]:
    return {
        "name": project.name,
        "repository_url": project.repository_url,
        "default_branch": project.default_branch,
        "visibility": str(project.visibility),
        "allow_local_engine": project.allow_local_engine,
        "variables": dict(project.variables),
    }


def _told(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """What the audit log says of a change: [before, after]; no address's password, variables by name."""
    changes = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
    if "repository_url" in changes:
        changes["repository_url"] = [without_credentials(address) for address in changes["repository_url"]]
    if "variables" in changes:
        old, new = changes["variables"]
        changes["variables"] = sorted(name for name in old | new if old.get(name) != new.get(name))
    return changes


def ensure_suite(
    *,
    project: Project,
    name: str,
    level: Level = Level.INTEGRATION,
    path: str = "",
    by: User | None = None,
) -> Suite:
    """Find the project's suite of that name, or make it. One that a person adds is in the audit log.

    Raises:
        InvalidValueError: the name is empty or too long.
    """
    name = name.strip()
    limit = 120
    if not name or len(name) > limit or not name.isprintable():
        message = f"A suite's name has 1 to {limit} printable characters."
        raise InvalidValueError("suite", message)
    known = Suite.objects.filter(project=project, name=name).first()
    if known is not None:
        return known
    with transaction.atomic():
        suite, is_new = Suite.objects.get_or_create(
            project=project, name=name, defaults={"level": level, "path": path}
        )
        if is_new and by is not None:
            note_change(project, by=by, action="suite.added", subject=name)
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


def _refuse_bad_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
        message = f"A project's name has 1 to {NAME_LIMIT} printable characters."
        raise InvalidValueError("name", message)


def _refuse_bad_repository(address: str) -> None:
    fits = not address or (_REPOSITORY.fullmatch(address) and address.isprintable())
    if not fits or len(address) > ADDRESS_LIMIT:
        message = (
            "Give an absolute path on the workers' machine, https://host/path, ssh://user@host/path or "
            "user@host:path; or nothing, for a project that lives on uploads."
        )
        raise InvalidValueError("repository_url", message)


def _refuse_bad_branch(branch: str) -> None:
    if not branch or len(branch) > BRANCH_LIMIT or not branch.isprintable() or _NO_BRANCH.search(branch):
        message = f"No branch can be called so. Use up to {BRANCH_LIMIT} characters, for example main."
        raise InvalidValueError("default_branch", message)


def _refuse_bad_variables(variables: Mapping[str, str]) -> None:
    if len(variables) > VARIABLES_LIMIT:
        message = f"A project has at most {VARIABLES_LIMIT} variables."
        raise InvalidValueError("variables", message)
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            message = (
                f"“{name[:80]}” is no variable's name. Use letters, digits and underscores, no digit first."
            )
            raise InvalidValueError("variables", message)
        if len(value) > VALUE_LIMIT or re.search(r"[\x00\r\n]", value):
            message = f"The value of {name[:80]} has to be one line of at most {VALUE_LIMIT} characters."
            raise InvalidValueError("variables", message)
