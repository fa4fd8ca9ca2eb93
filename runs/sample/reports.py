"""JUnit reports as pytest writes them, with further attempts in Surefire's form; junitparser writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from junitparser import Error, Failure, FloatAttr, Skipped, xunit2

from runs.sample.calendar import PlannedRun
from runs.sample.incidents import Outcome, Told


class FlakyError(xunit2.FlakyError):
    """An error before a pass, with the seconds that Surefire says it took."""

    time = FloatAttr()


class FlakyFailure(xunit2.FlakyFailure):
    """The same of a failure."""

    time = FloatAttr()


class RerunError(xunit2.RerunError):
    """The same of a further error of a test that never passed."""

    time = FloatAttr()


class RerunFailure(xunit2.RerunFailure):
    """The same of a failure."""

    time = FloatAttr()


def report(run: PlannedRun, results: Sequence[Outcome]) -> bytes:
    """The run's report."""
    suite = xunit2.TestSuite("pytest")
    suite.timestamp = run.at.isoformat()
    suite.hostname = f"runner-{int(run.commit[:2], 16) % 4 + 1}"
    suite.add_testcases([_case(one) for one in results])
    whole = xunit2.JUnitXml("pytest tests")
    whole.append(suite)
    written: bytes = whole.tostring()
    return written


def _case(one: Outcome) -> xunit2.TestCase:
    test = one.test
    case = xunit2.TestCase(test.name, classname=test.class_name, time=round(one.seconds, 3))
    for service in sorted({told.service for told in one.failures if told.service}):
        case.add_property("service", service)
    if test.skipped:
        case.append(Skipped(test.skipped, "pytest.skip"))
    case.extend(_tries(one))
    return case


def _tries(one: Outcome) -> Iterator[Error | Failure | FlakyError | FlakyFailure | RerunError | RerunFailure]:
    """What each try that failed told: the first of a test that failed for good, then the others."""
    for number, told in enumerate(one.failures):
        message = f"{told.kind}: {told.message}"
        if not one.passed and number == 0:
            first = (Error if told.is_error else Failure)(message, told.kind)
            first.text = _traceback(one, told)
            yield first
            continue
        kinds = (FlakyFailure, FlakyError) if one.passed else (RerunFailure, RerunError)
        again = kinds[told.is_error](message, told.kind)
        again.stack_trace = _traceback(one, told)
        again.time = round(one.seconds, 3)
        yield again


def _traceback(one: Outcome, told: Told) -> str:
    return (
        f"    def {one.test.name.partition('[')[0]}(…):\n"
        f">       {told.source}\n"
        f"E       {told.kind}: {told.message}\n\n"
        f"{one.test.file}:{told.line}: {told.kind}"
    )
