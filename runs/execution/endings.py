"""How a run ends: from what its tests reported, or from what went wrong before they could."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from environments.errors import EnvironmentFailedError, Evidence, FailureKind, PolicyError, SpecError
from runs.actions.results import StoredProblem, StoredReports
from runs.actions.runs import Ending
from runs.execution.checkout import CheckoutError
from runs.suitefile import SuiteFileError
from runs.vocabulary import ErrorReason, RunStatus, UploadStatus

_TAIL_LINES = 8


@dataclass(frozen=True, slots=True)
class Reported:
    """What one shard's tests left: how they ended, how many reports, and what could be read of them."""

    tests: str
    exit_code: int | None
    patterns: Sequence[str]
    report_count: int
    stored: StoredReports
    #: Of this shard alone.
    failing_count: int
    is_out_of_time: bool = False
    timeout_seconds: float = 0.0


def ending_of_reports(reported: Reported) -> Ending:
    """Judge one shard. What the tests said comes first; how their process ended is a second witness."""
    if reported.is_out_of_time:
        return _out_of_time(reported)
    if reported.failing_count:
        return Ending(RunStatus.FAILED, _failures(reported))
    if unusable := _unusable(reported):
        return unusable
    if reported.exit_code != 0:
        return Ending(RunStatus.FAILED, _passed_but_exited(reported))
    return Ending(RunStatus.PASSED)


def _unusable(reported: Reported) -> Ending | None:
    """Say why the reports cannot speak for the tests; None when they can."""
    if reported.report_count == 0:
        return Ending(RunStatus.ERRORED, _no_report(reported), ErrorReason.NO_REPORT)
    if reported.stored.status is not UploadStatus.STORED:
        return Ending(RunStatus.ERRORED, _unreadable(reported), ErrorReason.REPORT_UNREADABLE)
    if reported.stored.case_count == 0:
        return Ending(RunStatus.ERRORED, _no_case(reported), ErrorReason.NO_REPORT)
    return None


def ending_of_error(error: Exception) -> Ending:
    """Say what went wrong as a reason and a sentence for people."""
    match error:
        case CheckoutError():
            return Ending(RunStatus.ERRORED, str(error), ErrorReason.CHECKOUT)
        case SuiteFileError():
            return Ending(RunStatus.ERRORED, str(error), ErrorReason.SUITE_FILE)
        case PolicyError():
            return Ending(RunStatus.ERRORED, str(error), ErrorReason.POLICY)
        case SpecError():
            return Ending(RunStatus.ERRORED, str(error), ErrorReason.COMPOSE_FILE)
        case EnvironmentFailedError():
            return Ending(RunStatus.ERRORED, _with_evidence(error), _REASONS[error.kind])
        case _:
            message = (
                f"itdash itself failed: {type(error).__name__}: {error}. The worker's log says more. "
                "Run it again; if it stays, report it."
            )
            return Ending(RunStatus.ERRORED, message, ErrorReason.INTERNAL)


_REASONS = {kind: ErrorReason(kind.value) for kind in FailureKind}


def _out_of_time(reported: Reported) -> Ending:
    kept = (
        f"{reported.stored.case_count} reported until then are kept."
        if reported.stored.case_count
        else "Nothing was reported until then."
    )
    message = (
        f"{reported.tests} was still running after {_duration(reported.timeout_seconds)}, the suite's "
        f"`timeout`. {kept}"
    )
    return Ending(RunStatus.TIMED_OUT, message)


def _no_report(reported: Reported) -> str:
    return (
        f"{reported.tests} ended with exit code {reported.exit_code} and left no report: nothing in it "
        f"matches {', '.join(reported.patterns)}. Let the test command write JUnit XML there (with pytest: "
        "--junitxml=PATH), or correct `results` in the suite file. Its log says what it did."
    )


def _failures(reported: Reported) -> str:
    tests = "test" if reported.failing_count == 1 else "tests"
    problems = reported.stored.problems
    unread = f" Not everything could be read: {_first(problems)}" if problems else ""
    return f"{reported.failing_count} {tests} failed.{unread}"


def _unreadable(reported: Reported) -> str:
    more = len(reported.stored.problems) - 1
    others = f" ({more} more like it on the run's reports.)" if more > 0 else ""
    return (
        f"A report could not be read: {_first(reported.stored.problems)}{others} `results` must match JUnit "
        "XML only, and the tests must have ended writing it. The file is kept with the run."
    )


def _no_case(reported: Reported) -> str:
    return (
        f"{reported.tests} ended with exit code {reported.exit_code} and its report holds no test case. "
        "Check what the test command selects."
    )


def _passed_but_exited(reported: Reported) -> str:
    return (
        f"All {reported.stored.case_count} reported tests passed, but {reported.tests} ended with exit code "
        f"{reported.exit_code}: something outside of a test failed. Its log says what."
    )


def _first(problems: Sequence[StoredProblem]) -> str:
    if not problems:
        return "its content is no JUnit XML."
    problem = problems[0]
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    return f"{place}: {problem.reason.rstrip('.')}."


def _with_evidence(error: EnvironmentFailedError) -> str:
    tails = [_tail(evidence) for evidence in error.evidence if evidence.log_tail or evidence.probe_outputs]
    return "\n\n".join([str(error), *tails])


def _tail(evidence: Evidence) -> str:
    if evidence.log_tail:
        return "\n".join([f"{evidence.service} printed last:", *evidence.log_tail[-_TAIL_LINES:]])
    return "\n".join([f"{evidence.service}'s health check said:", *evidence.probe_outputs[-3:]])


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole >= 60 and whole % 60 == 0:  # noqa: PLR2004 - seconds in a minute
        return f"{whole // 60} min"
    return f"{whole} s"
