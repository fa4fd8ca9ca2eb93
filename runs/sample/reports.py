"""JUnit reports as pytest writes them, with further attempts in Surefire's form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from runs.sample.calendar import PlannedRun
from runs.sample.incidents import Outcome, Told


def report(run: PlannedRun, results: Sequence[Outcome]) -> bytes:
    """The run's report."""
    failed = [one for one in results if not one.passed]
    errors = sum(one.failures[0].is_error for one in failed)
    skipped = sum(bool(one.test.skipped) for one in results)
    seconds = sum(one.seconds for one in results)
    counts = f'errors="{errors}" failures="{len(failed) - errors}" skipped="{skipped}" tests="{len(results)}"'
    return "".join(
        [
            '<?xml version="1.0" encoding="utf-8"?>\n<testsuites name="pytest tests">',
            f'<testsuite name="pytest" {counts} {_where(run)} time="{seconds:.3f}">',
            *(part for one in results for part in _case(one)),
            "</testsuite></testsuites>\n",
        ]
    ).encode()


def _where(run: PlannedRun) -> str:
    return f'timestamp="{run.at.isoformat()}" hostname="runner-{int(run.commit[:2], 16) % 4 + 1}"'


def _case(one: Outcome) -> Iterator[str]:
    test = one.test
    yield f'<testcase classname="{test.class_name}" name={quoteattr(test.name)} time="{one.seconds:.3f}">'
    services = sorted({told.service for told in one.failures if told.service})
    if services:
        properties = "".join(f'<property name="service" value="{service}"/>' for service in services)
        yield f"<properties>{properties}</properties>"
    if test.skipped:
        yield f'<skipped type="pytest.skip" message={quoteattr(test.skipped)}/>'
    for number, told in enumerate(one.failures):
        yield _failure(one, told, is_first=number == 0)
    yield "</testcase>\n"


def _failure(one: Outcome, told: Told, *, is_first: bool) -> str:
    word = "Error" if told.is_error else "Failure"
    text = escape(_traceback(one, told))
    attributes = f"message={quoteattr(f'{told.kind}: {told.message}')} type={quoteattr(told.kind)}"
    if not one.passed and is_first:
        return f"<{word.lower()} {attributes}>{text}</{word.lower()}>"
    tag = f"{'flaky' if one.passed else 'rerun'}{word}"
    return f'<{tag} {attributes} time="{one.seconds:.3f}"><stackTrace>{text}</stackTrace></{tag}>'


def _traceback(one: Outcome, told: Told) -> str:
    return (
        f"    def {one.test.name.partition('[')[0]}(…):\n"
        f">       {told.source}\n"
        f"E       {told.kind}: {told.message}\n\n"
        f"{one.test.file}:{told.line}: {told.kind}"
    )
