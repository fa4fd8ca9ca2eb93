"""Whatever happens to runs, in whatever order and whoever dies of it: what is kept agrees with a recount."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import count
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase as HypothesisTestCase

from runs import tasks
from runs.actions import result_rows
from runs.actions.errors import InvalidValueError, NotPossibleError, RunLostError, TakenError
from runs.actions.pins import pin_run, unpin_run
from runs.actions.quarantine import lift_quarantine, quarantine_case
from runs.actions.renames import confirm_renames, part_rename
from runs.actions.results import ReportFile, store_reports
from runs.actions.retention import Terms, remove_outlived
from runs.actions.runs import (
    Claim,
    Ending,
    cancel_run,
    claim_run,
    finish_run,
    held_run,
    queue_run,
    resolve_lapsed_run,
)
from runs.actions.samples import remove_samples
from runs.actions.shards import begin_shard, finish_shard
from runs.actions.uploads import TRY_LIMIT, UploadFields, ingest_upload, receive_upload, settle_overdue
from runs.dispatch import Work, answering
from runs.models import Project, Rename, Run, TestCase, Upload
from runs.queries.samples import PLACE_TAG, UNTIL_TAG
from runs.vocabulary import RenameStatus, RunStatus, Trigger, UploadStatus
from tests.factories import make_project, make_rename
from tests.recount import disagreements, misplaced_files, unsettled

#: Sequences drawn: a few, always the same, or as many others as `ITDASH_RECOUNT_EXAMPLES` says.
WANTED = os.environ.get("ITDASH_RECOUNT_EXAMPLES", "")
EXAMPLES = int(WANTED or 6)
SUITES = ("checkout", "search")
TESTS = "abcd"
BODIES = {
    "passed": "",
    "failed": "<failure message='f'/>",
    "failed otherwise": "<failure message='g'/><system-out>said</system-out>",
    "failed for a service": "<properties><property name='service' value='db'/></properties><failure/>",
    "errored": "<error message='f'/>",
    "skipped": "<skipped/>",
    "flaky": "<flakyFailure message='f'/>",
    "rerun": "<failure message='f'/><rerunFailure message='g'/>",
}


class KilledError(BaseException):
    """The worker is dead: nobody handles it."""


def moments() -> list[datetime | None]:
    """Now, and around the ends of days, months and the year, as clocks elsewhere tell them."""
    now = datetime.now(tz=UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    year = month.replace(year=now.year - 1, month=1)
    east, west = timezone(timedelta(hours=14)), timezone(timedelta(hours=-11))
    return [
        None,
        now - timedelta(hours=30),
        month,
        month - timedelta(microseconds=1),
        (month - timedelta(minutes=5)).astimezone(east),
        (month - timedelta(days=40, minutes=-5)).astimezone(west),
        year - timedelta(milliseconds=1),
    ]


def xml(outcomes: dict[str, str], ending: str) -> bytes:
    cases = "".join(
        f'<testcase classname="t" name="{name}" time="0.{place + 1}">{BODIES[outcome]}</testcase>'
        for place, (name, outcome) in enumerate(outcomes.items())
    )
    return f'<testsuite name="s">{cases}{ending}'.encode()


class World:
    """One project, and everything that can happen to it; each method is a step."""

    def __init__(self) -> None:
        self.project = make_project(repository_url="/srv/git/shop.git")
        self.rung: list[tuple[Work, int]] = []
        self.claims: list[Claim] = []
        self.since = date.min
        self._files = count()

    def upload(self, place: int, sent: dict[str, Any], outcomes: dict[str, str], ending: str) -> None:
        """Somebody sends a report; what asks to be stored is heard later, or never."""
        values = dict(sent)
        is_sample, content = values.pop("is_sample"), xml(outcomes, ending)
        tags = {PLACE_TAG: "1 of 2", UNTIL_TAG: "now"} if is_sample else {}
        if values["shards"] is not None and not values["run_key"]:
            values["shards"] = None
        if values["shards"] is not None:
            values["shards"] = max(values["shards"], values["shard"])
        fields = UploadFields(started_at=moments()[place], tags=tags, **values)
        file = ReportFile("junit.xml", open=lambda: io.BytesIO(content))
        receive_upload(project=self.project, fields=fields, files=[file])

    def answer(self, which: int) -> None:
        """A worker hears one of the bells."""
        if self.rung:
            work, row_id = self.rung.pop(which % len(self.rung))
            if work in {Work.INGEST_UPLOAD, Work.JUDGE_RUN}:
                tasks.do(work, row_id)

    def judge_again(self, which: int) -> None:
        if run := self._one(Run.objects.all(), which):
            tasks.judge_run(run.pk)

    def wait_no_longer(self, _: int) -> None:
        with override_settings(SHARDS_WAIT_SECONDS=-1):
            list(settle_overdue())

    def cancel(self, which: int) -> None:
        if run := self._one(Run.objects.all(), which):
            cancel_run(run_id=run.pk, by=None)

    def execute(self, which: int) -> None:
        """A worker claims a run: one that waits, or a new one."""
        run = self._one(Run.objects.filter(status=RunStatus.QUEUED), 0) or queue_run(
            project=self.project, suite=SUITES[which % 2], trigger=Trigger.PERSON, branch="main"
        )
        claim = claim_run(run.pk, owner=f"worker {len(self.claims)}")
        assert claim is not None
        self.claims.append(claim)
        for number in (1, 2):
            begin_shard(claim, number, variables={})

    def store(self, which: int, shard: int, outcomes: dict[str, str]) -> None:
        """A worker stores what its tests wrote, also one that has lost its run without knowing."""
        if self.claims:
            claim = self.claims[which % len(self.claims)]
            content = xml(outcomes, "</testsuite>")
            file = ReportFile("junit.xml", open=lambda: io.BytesIO(content))
            is_ours = held_run(claim).exists
            with suppress(RunLostError):
                store_reports(run_id=claim.run_id, shard=shard, files=[file], is_ours=is_ours)

    def finish(self, which: int, status: RunStatus) -> None:
        if self.claims:
            claim = self.claims[which % len(self.claims)]
            for number in (1, 2):
                finish_shard(claim, number, Ending(status), exit_code=0)
            finish_run(claim, Ending(status))

    def lose_worker(self, which: int) -> None:
        if self.claims:
            run = Run.objects.filter(pk=self.claims[which % len(self.claims)].run_id)
            run.update(lease_expires_at=datetime.now(tz=UTC) - timedelta(seconds=1))
            resolve_lapsed_run(run.get().pk)

    def rename(self, which: int) -> None:
        """Somebody says of two tests that they are one."""
        cases = list(TestCase.objects.filter(same_as=None).order_by("pk"))
        pairs = [(old, new) for old in cases for new in cases if old.suite_id == new.suite_id and old != new]
        if not pairs:
            return
        old, new = pairs[which % len(pairs)]
        if not Rename.objects.filter(old=old, new=new).exists():
            one = make_rename(old.suite, old=old, new=new)
            confirm_renames(suite=old.suite, rename_ids=[one.pk], by=None)

    def part(self, which: int) -> None:
        if one := self._one(Rename.objects.filter(status=RenameStatus.CONFIRMED), which):
            part_rename(rename=one, by=None)

    def quarantine(self, which: int) -> None:
        if case := self._one(TestCase.objects.filter(same_as=None), which):
            quarantine_case(case=case, reason="shaky", days=7)

    def lift(self, which: int) -> None:
        if case := self._one(TestCase.objects.filter(quarantines__lifted_at=None), which):
            lift_quarantine(case=case)

    def pin(self, which: int) -> None:
        if run := self._one(Run.objects.all(), which):
            pin_run(run_id=run.pk, by=None)

    def unpin(self, which: int) -> None:
        if run := self._one(Run.objects.exclude(pinned_at=None), which):
            unpin_run(run_id=run.pk, by=None)

    def follow(self, branch: str) -> None:
        """Another branch is the default from now on."""
        Project.objects.filter(pk=self.project.pk).update(default_branch=branch)

    def pass_a_night(self, days: int, is_of_counts: bool) -> None:
        """What is older goes; the counts too, or not."""
        now = datetime.now(tz=UTC)
        terms = Terms(results=days, texts=1, artifacts=days, reports=days, logs=days)
        with override_settings(KEEP_RESULTS_DAYS=days):
            if is_of_counts:
                self.since = max(self.since, (now - timedelta(days=days)).date())
                terms = Terms(counts=days)
            remove_outlived(now=now, terms=terms)

    def take_samples_back(self, _: int) -> None:
        if not Run.objects.exclude(results_removed_at=None).exists():
            Project.objects.filter(pk=self.project.pk).update(is_sample=True)
            remove_samples(project=self.project, by=None)

    def come_to_rest(self) -> None:
        """Whoever was not heard is, and every worker that is left ends what it has."""
        for claim in self.claims:
            finish_run(claim, Ending(RunStatus.PASSED))
        for run_id in Run.objects.filter(status=RunStatus.QUEUED).values_list("pk", flat=True):
            cancel_run(run_id=run_id, by=None)
        for _ in range(TRY_LIMIT + 1):
            for upload in Upload.objects.filter(status=UploadStatus.RECEIVED).order_by("pk"):
                ingest_upload(upload.pk)
        self.wait_no_longer(0)
        for run_id in Run.objects.order_by("pk").values_list("pk", flat=True):
            tasks.judge_run(run_id)

    @staticmethod
    def _one(rows: Any, which: int) -> Any:
        found = list(rows.order_by("pk"))
        return found[which % len(found)] if found else None


@contextmanager
def dying_after(statements: int | None) -> Iterator[None]:
    """Whoever works here is killed before that statement, of which those committed before stay."""
    left = count(-1 if statements is None else statements, -1)

    def execute(go_on: Callable[..., Any], *rest: Any) -> Any:
        if statements is not None and next(left) == 0:
            raise KilledError
        return go_on(*rest)

    with suppress(KilledError), connection.execute_wrapper(execute):
        yield


#: What happens, the statement before which whoever does it dies, and whether reports count as large.
type Step = tuple[tuple[Any, ...], int | None, bool]

which = st.integers(0, 11)
outcome_maps = st.dictionaries(st.sampled_from(TESTS), st.sampled_from(sorted(BODIES)), max_size=4)
sent = st.fixed_dictionaries(
    {
        "suite": st.sampled_from(SUITES),
        "run_key": st.sampled_from(["", "k1", "k1", "k2"]),
        "branch": st.sampled_from(["main", "main", "dev"]),
        "pull_request": st.sampled_from(["", "", "7"]),
        "shard": st.integers(1, 2),
        "shards": st.sampled_from([None, None, 2, 3]),
        "is_sample": st.booleans(),
    }
)
uploads = st.tuples(
    st.just("upload"),
    st.integers(0, len(moments()) - 1),
    sent,
    outcome_maps,
    st.sampled_from(["</testsuite>"] * 4 + ["<testcase", "</wrong>"]),
)
#: Steps that are told nothing but which row they are about.
PLAIN = [
    *("judge_again", "wait_no_longer", "cancel", "execute", "lose_worker", "quarantine", "lift", "pin"),
    *("rename", "rename", "part", "part", "unpin", "take_samples_back"),
]
others = st.one_of(
    st.tuples(st.sampled_from(PLAIN), which),
    st.tuples(st.just("store"), which, st.integers(1, 2), outcome_maps),
    st.tuples(st.just("store"), which, st.integers(1, 2), outcome_maps),
    st.tuples(st.just("finish"), which, st.sampled_from([RunStatus.PASSED, RunStatus.FAILED])),
    st.tuples(st.just("follow"), st.sampled_from(["main", "dev"])),
    st.tuples(st.just("pass_a_night"), st.sampled_from([20, 70]), st.sampled_from([False, False, True])),
)
answers = st.tuples(st.just("answer"), which)
steps = st.lists(
    st.tuples(
        st.one_of(uploads, uploads, answers, answers, others),
        st.none() | st.none() | st.none() | st.integers(1, 60),
        st.booleans(),
    ),
    min_size=8,
    max_size=30,
)


class CountsAgree(HypothesisTestCase):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not WANTED,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],  # a sequence takes too long to be tried a thousand times
    )
    @given(steps=steps)
    def test_whatever_happens_what_is_kept_agrees_with_a_recount(self, steps: list[Step]) -> None:
        broken = play(steps)
        assert not broken, broken


def play(steps: list[Step]) -> tuple[Any, ...]:
    """Take the steps; return the first after which something disagrees, and what does."""
    with tempfile.TemporaryDirectory() as folder, override_settings(MEDIA_ROOT=folder):
        world = World()
        with answering(lambda work, row_id: world.rung.append((work, row_id))):
            for place, step in enumerate(steps):
                _take(world, *step)
                if broken := disagreements(since=world.since):
                    return place, step, broken
            for _ in range(2):
                with HypothesisTestCase.captureOnCommitCallbacks(execute=True):
                    world.come_to_rest()
            broken = disagreements(since=world.since) | unsettled()
            if not any(dies_after for _, dies_after, _ in steps):
                broken |= misplaced_files("uploads", "reports", "artifacts")
            return ("at rest", broken) if broken else ()


def _take(world: World, what: tuple[Any, ...], dies_after: int | None, is_large: bool) -> None:
    name, *values = what
    with (
        pytest.MonkeyPatch.context() as patch,
        suppress(InvalidValueError, NotPossibleError, TakenError),
        HypothesisTestCase.captureOnCommitCallbacks(execute=True),
        dying_after(dies_after),
    ):
        patch.setattr(result_rows, "_MANY_ATTEMPTS", 0 if is_large else 5_000)
        getattr(world, name)(*values)
