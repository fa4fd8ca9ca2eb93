"""Rows for tests: `make_…` names only what matters to the test."""

from __future__ import annotations

import itertools
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import PBKDF2PasswordHasher

from runs.models import Event, Membership, Project, Rename, Run, Suite, Team, TestCase, User
from runs.vocabulary import FINISHED, Role, RunStatus, Trigger

_numbers = itertools.count(1)

#: A fixed moment, a Saturday morning, for tests that need one.
NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


class OneRound(PBKDF2PasswordHasher):
    """The usual passwords, weakly hashed."""

    iterations = 1


def make_user(username: str = "", *, password: str = "correct horse battery", **values: Any) -> User:
    username = username or f"person{next(_numbers)}"
    return User.objects.create_user(username=username, password=password, **values)


def make_team(slug: str = "", **values: Any) -> Team:
    slug = slug or f"team{next(_numbers)}"
    return Team.objects.create(slug=slug, name=values.pop("name", slug.title()), **values)


def make_project(slug: str = "", *, team: Team | None = None, **values: Any) -> Project:
    slug = slug or f"project{next(_numbers)}"
    return Project.objects.create(
        slug=slug, name=values.pop("name", slug.title()), team=team or make_team(), **values
    )


def make_member(project: Project, role: Role = Role.MEMBER, **values: Any) -> User:
    user = make_user(**values)
    Membership.objects.create(project=project, user=user, role=role)
    return user


def make_suite(project: Project | None = None, name: str = "", **values: Any) -> Suite:
    return Suite.objects.create(
        project=project or make_project(), name=name or f"suite{next(_numbers)}", **values
    )


def make_run(suite: Suite | None = None, *, status: RunStatus = RunStatus.QUEUED, **values: Any) -> Run:
    """A run; an errored or finished one gets what its constraints ask for."""
    suite = suite or make_suite()
    project = suite.project
    number = values.pop("number", None) or (
        (
            Run.objects.filter(project=project).order_by("-number").values_list("number", flat=True).first()
            or 0
        )
        + 1
    )
    queued_at = values.pop("queued_at", NOW)
    values.setdefault("run_at", queued_at)
    if status in FINISHED:
        values.setdefault("started_at", queued_at + timedelta(seconds=1))
        values.setdefault("finished_at", queued_at + timedelta(seconds=61))
        values.setdefault("duration_ms", 60_000)
    if status == RunStatus.ERRORED:
        values.setdefault("error_reason", "never_healthy")
        values.setdefault("error_message", "postgres never became healthy")
    Project.objects.filter(pk=project.pk, next_run_number__lte=number).update(next_run_number=number + 1)
    return Run.objects.create(
        project=project,
        suite=suite,
        number=number,
        status=status,
        queued_at=queued_at,
        trigger=values.pop("trigger", Trigger.PERSON),
        branch=values.pop("branch", "main"),
        commit=values.pop("commit", "a81f3c2" + "0" * 33),
        **values,
    )


def make_case(suite: Suite, name: str = "", **values: Any) -> TestCase:
    return TestCase.objects.create(
        suite=suite,
        identity=values.pop("identity", secrets.token_bytes(16)),
        name=name or f"test_{next(_numbers)}",
        first_seen_at=values.pop("first_seen_at", NOW),
        last_seen_at=values.pop("last_seen_at", NOW),
        **values,
    )


def make_rename(suite: Suite, **values: Any) -> Rename:
    """The proposal that a test moved from one class to another."""
    old = values.pop("old", None) or make_case(suite, "pays", class_name="shop.Cart")
    new = values.pop("new", None) or make_case(suite, "pays", class_name="shop.Basket")
    told = {"kind": "moved", "old_place": "shop.Cart", "new_place": "shop.Basket", "proposed_at": NOW}
    likeness = {"name_likeness": 1.0, "place_likeness": 0.5, "pace_likeness": 0.9}
    return Rename.objects.create(suite=suite, old=old, new=new, **(told | likeness | values))


def make_event(run: Run, kind: str = "queued", **values: Any) -> Event:
    return Event.objects.create(run=run, kind=kind, at=values.pop("at", NOW), **values)
