"""What there is to tell of a suite on a branch, in the one form that every receiver's is made from.

The form is also what webhooks are sent, so it changes by additions alone: see `docs/notifications.md`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

#: Tests that a message names; the others are counted.
TESTS_TOLD: Final = 5


class NewsEvent(StrEnum):
    """What changed."""

    FAILED = "run.failed"
    PASSED = "run.passed"
    ERRORED = "run.errored"
    #: It failed before, and now other tests do.
    NEW_FAILURES = "run.new_failures"
    #: Nothing: somebody tries the channel.
    TEST = "test"


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProjectFacts(_Facts):
    """The project."""

    slug: str
    name: str
    url: str


class RunFacts(_Facts):
    """The run that brought the news."""

    id: int
    number: int
    url: str
    status: str
    #: `pass`, `fail` or `none`.
    verdict: str
    error_message: str = ""
    duration_seconds: float | None = None


class CommitFacts(_Facts):
    """What was tested; all of it may be unknown."""

    sha: str = ""
    title: str = ""
    author: str = ""


class Totals(_Facts):
    """The run's counts."""

    tests: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0
    skipped: int = 0
    flaky: int = 0


class TestFacts(_Facts):
    """A test that fails and did not in the run before."""

    __test__ = False

    name: str
    message: str = ""
    url: str


class News(_Facts):
    """One message, whole."""

    event: NewsEvent
    project: ProjectFacts
    suite: str = ""
    branch: str = ""
    pull_request: str = ""
    run: RunFacts | None = None
    #: The number of the run it differs from.
    previous_number: int | None = None
    #: The verdict in a sentence.
    why: str = ""
    #: That its environment can be looked at, and until when; empty when it is gone.
    held: str = ""
    commit: CommitFacts = CommitFacts()
    totals: Totals = Totals()
    #: Tests in no quarantine that fail now and did not in the run before.
    new_failure_count: int = 0
    #: The first few of them.
    new_failures: tuple[TestFacts, ...] = ()

    @property
    def headline(self) -> str:
        """The news in a line: `checkout fails on main: 3 tests`."""
        where = f" on {self.branch}" if self.branch else ""
        match self.event:
            case NewsEvent.FAILED:
                return f"{self.suite} fails{where}{self._counted(': {} failing')}"
            case NewsEvent.PASSED:
                return f"{self.suite} passes again{where}"
            case NewsEvent.ERRORED:
                return f"{self.suite} could not be run{where}"
            case NewsEvent.NEW_FAILURES:
                return f"{self.suite}{where}: {_tests(self.new_failure_count)} more failing"
        return f"A test message for {self.project.name}"

    @property
    def about(self) -> str:
        """The run, the commit and its author in a line; what is not known is left out."""
        parts = [f"Run #{self.run.number}"] if self.run else []
        parts += [f"pull request {self.pull_request}"] if self.pull_request else []
        parts += [self.commit.sha[:8]] if self.commit.sha else []
        parts += [self.commit.title] if self.commit.title else []
        parts += [f"by {self.commit.author}"] if self.commit.author else []
        return ", ".join(parts)

    @property
    def explanation(self) -> str:
        """Why it is so, in a sentence; for a test message, what it is for."""
        if self.event is NewsEvent.TEST:
            return "Somebody pressed “Send a test message”: the channel works."
        why = self.run.error_message if self.run and self.event is NewsEvent.ERRORED else self.why
        return f"{why} {self.held}".strip()

    @property
    def untold_count(self) -> int:
        """New failures that are not named."""
        return self.new_failure_count - len(self.new_failures)

    @property
    def url(self) -> str:
        """Where to read on."""
        return self.run.url if self.run else self.project.url

    def _counted(self, form: str) -> str:
        failing = self.totals.failed + self.totals.errored
        return form.format(_tests(failing)) if failing else ""


def _tests(count: int) -> str:
    return f"{count} test{'' if count == 1 else 's'}"
