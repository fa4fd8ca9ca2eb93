"""The rules that the database itself holds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, IntegrityError, transaction

from runs.actions.partitions import ensure_partition
from runs.models import Attempt, Membership, Project, Result, Run, Shard, Suite, Token, Upload
from runs.vocabulary import RunStatus
from tests.factories import NOW, make_case, make_project, make_run, make_suite, make_user

pytestmark = pytest.mark.django_db


def refused(constraint: str, rows: Any, **values: Any) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        rows.update(**values)


def test_a_run_has_an_end_exactly_when_it_is_finished() -> None:
    run = Run.objects.filter(pk=make_run().pk)

    refused("a_run_is_finished_when_it_has_an_end", run, status="passed")
    refused("a_run_is_finished_when_it_has_an_end", run, finished_at=NOW)


def test_a_run_has_an_error_reason_exactly_when_it_errored() -> None:
    passed = Run.objects.filter(pk=make_run(status=RunStatus.PASSED).pk)
    errored = Run.objects.filter(pk=make_run(status=RunStatus.ERRORED).pk)

    refused("an_errored_run_has_a_reason_and_no_other_has", passed, error_reason="disk")
    refused("an_errored_run_has_a_reason_and_no_other_has", errored, error_reason="")


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("a_run_has_a_known_status", {"status": "green", "finished_at": NOW}),
        ("a_run_has_a_known_verdict", {"verdict": "ok"}),
        ("a_run_has_a_known_trigger", {"trigger": "cat"}),
    ],
)
def test_words_outside_the_glossary_are_refused(constraint: str, values: dict[str, Any]) -> None:
    refused(constraint, Run.objects.filter(pk=make_run().pk), **values)


def test_numbers_and_keys_are_taken_once() -> None:
    first = make_run(run_key="ci-7", idempotency_key="night")
    second = Run.objects.filter(pk=make_run(first.suite).pk)

    refused("a_run_number_is_taken_once_in_a_project", second, number=first.number)
    refused("a_run_key_names_one_run_of_a_suite", second, run_key="ci-7")
    refused("an_idempotency_key_names_one_run_of_a_project", second, idempotency_key="night")


def test_many_runs_have_no_keys() -> None:
    suite = make_suite()
    make_run(suite)
    make_run(suite)

    assert suite.runs.filter(run_key=None, idempotency_key=None).count() == 2


def test_names_are_taken_once_where_they_are_addresses() -> None:
    project, suite = make_project("shop"), make_suite(name="checkout")
    other = make_suite(suite.project)

    refused("a_project_slug_is_taken_once", Project.objects.exclude(pk=project.pk), slug="shop")
    refused("a_suite_name_is_taken_once_in_a_project", Suite.objects.filter(pk=other.pk), name="checkout")
    refused("a_project_is_private_or_public", Project.objects.filter(pk=project.pk), visibility="open")
    refused("a_suite_has_a_known_level", Suite.objects.filter(pk=other.pk), level="smoke")


def test_shards_are_numbered_once() -> None:
    run = make_run()
    Shard.objects.create(run=run, number=1)
    second = Shard.objects.create(run=run, number=2)

    refused("a_shard_number_is_taken_once_in_a_run", Shard.objects.filter(pk=second.pk), number=1)
    refused("a_shard_has_a_known_status", Shard.objects.filter(pk=second.pk), status="green")


def test_a_member_has_one_known_role() -> None:
    project, person = make_project(), make_user()
    row = Membership.objects.create(project=project, user=person, role="viewer")

    refused("a_membership_has_a_known_role", Membership.objects.filter(pk=row.pk), role="owner")
    with pytest.raises(IntegrityError, match="a_member_has_one_role_in_a_project"), transaction.atomic():
        Membership.objects.create(project=project, user=person, role="admin")


def test_a_token_has_known_scopes() -> None:
    token = Token.objects.create(
        project=make_project(), name="ci", prefix="itd_", digest=b"x" * 32, scopes=["read"]
    )

    refused("a_token_has_known_scopes", Token.objects.filter(pk=token.pk), scopes=["read", "everything"])


def test_an_upload_key_names_one_upload() -> None:
    run = make_run()
    for key in ("one", "two"):
        Upload.objects.create(project=run.project, run=run, idempotency_key=key, content_digest="0" * 64)

    refused(
        "an_idempotency_key_names_one_upload_of_a_project",
        Upload.objects.filter(idempotency_key="two"),
        idempotency_key="one",
    )


def test_a_result_is_stored_once_and_lands_in_its_months_partition() -> None:
    run = make_run()
    case = make_case(run.suite)
    ensure_partition(run.run_at)
    Result.objects.create(run_at=run.run_at, run=run, case=case, outcome="passed")

    with pytest.raises(IntegrityError), transaction.atomic():
        Result.objects.create(run_at=run.run_at, run=run, case=case, outcome="failed")
    with pytest.raises(DataError, match="invalid input value for enum runs_outcome"), transaction.atomic():
        Result.objects.create(run_at=run.run_at, run=run, case=make_case(run.suite), outcome="green")
    with pytest.raises(IntegrityError, match="no partition"), transaction.atomic():
        Result.objects.create(run_at=NOW - timedelta(days=4000), run=run, case=case, outcome="passed")


def test_attempts_are_numbered_from_one_and_never_flaky() -> None:
    run = make_run()
    case = make_case(run.suite)
    ensure_partition(run.run_at)

    with pytest.raises(IntegrityError, match="attempts_are_numbered_from_one"), transaction.atomic():
        Attempt.objects.create(run_at=run.run_at, run=run, case=case, number=0, outcome="passed")
    with pytest.raises(IntegrityError, match="an_attempt_has_a_known_outcome"), transaction.atomic():
        Attempt.objects.create(run_at=run.run_at, run=run, case=case, number=1, outcome="flaky")
