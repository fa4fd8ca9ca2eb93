"""A suite's tests dealt to parallel slices, by measured time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus
from itertools import batched

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema

from runs.api.answers import Answer
from runs.api.auth import TokenAuth, project_for
from runs.api.problems import ProblemError
from runs.models import Suite
from runs.queries.splitting import Split, split_suite, times_of_tests
from runs.vocabulary import Scope

SHARD_LIMIT = 1_000
#: Tests that are written at once.
_AT_ONCE = 1_000
router = Router(tags=["runs"])


class SplitBy(StrEnum):
    """What is dealt whole."""

    TEST = "test"
    FILE = "file"


class SplitQuery(Schema):
    """What to deal, and to how many."""

    suite: str
    shards: int = Field(1, ge=1, le=SHARD_LIMIT, description="How many slices.")
    by: SplitBy = Field(SplitBy.TEST, description="Whether a file's tests stay together.")
    as_of: datetime | None = Field(
        None, description="Only runs that had ended by then count: slices that ask later get the same answer."
    )


class SlicePlan(Answer):
    """One slice."""

    shard: int = Field(description="From 1.")
    seconds: float = Field(description="What its tests are expected to take.")
    names: list[str] = Field(description="Its tests or files.")


class TimedTest(Answer):
    """A test and what it takes."""

    test: str = Field(description="As its tool names it: pytest's node id, or class name, dot and name.")
    file: str | None
    class_name: str | None
    seconds: float | None = Field(description="The median of its last five passes; null before the first.")


class SplitOut(Answer):
    """A suite's tests dealt to slices that end together."""

    suite: str
    by: SplitBy
    shards: list[SlicePlan]
    tests: list[TimedTest]


@router.get(
    "/projects/{project}/split", auth=TokenAuth(Scope.READ), response=SplitOut, summary="Split a suite"
)
def split(request: HttpRequest, project: str, query: Query[SplitQuery]) -> HttpResponse:
    """Deal a suite's tests to slices, longest first, each to the slice with the least to do so far.

    A suite that nobody has reported to yet has no tests: its slices are empty.
    """
    owner = project_for(request, project)
    moment = query.as_of
    if moment is not None and timezone.is_naive(moment):
        detail = "as_of needs a time zone, for example 2026-11-21T08:00:00Z."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
    suite = Suite.objects.filter(project=owner, name=query.suite.replace("\x00", "")).first()
    times = times_of_tests(suite, now=timezone.now(), as_of=moment) if suite else []
    found = split_suite(times, shards=query.shards, by_file=query.by is SplitBy.FILE)
    written = _written(query, found)
    return HttpResponse(written, content_type="application/json; charset=utf-8")


def _written(query: SplitQuery, found: Split) -> Iterator[bytes]:
    """A `SplitOut`, piece by piece: as objects that are looked at once more, a large suite takes a second."""
    yield b'{"suite": %b, "by": %b, "shards": [' % (_json(query.suite), _json(query.by))
    shards = (
        {"shard": number, "seconds": round(plan.seconds, 3), "names": plan.tests}
        for number, plan in enumerate(found.plans, 1)
    )
    yield from _elements(shards, at_once=1)
    yield b'], "tests": ['
    tests = (
        {
            "test": one.test,
            "file": one.file or None,
            "class_name": one.class_name or None,
            "seconds": one.seconds,
        }
        for one in found.times
    )
    yield from _elements(tests, at_once=_AT_ONCE)
    yield b"]}"


def _elements(values: Iterable[object], *, at_once: int) -> Iterator[bytes]:
    """The elements of a list, without its brackets."""
    for number, some in enumerate(batched(values, at_once)):
        yield (b", " if number else b"") + _json(some)[1:-1]


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
