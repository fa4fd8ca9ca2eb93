"""A pytest plugin: try a test again, and keep the failed attempts in the JUnit report.

    @pytest.mark.retry(times=2)        # at most two more attempts

A test that passes on a later attempt is green and carries a ``<flakyFailure>`` for each earlier one; one that
never passes is red with its first failure and carries a ``<rerunFailure>`` for each later one. That is how
Maven's Surefire writes it, and what itdash reads attempts from.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from _pytest.runner import runtestprotocol

ATTEMPT = pytest.StashKey[int]()
OTHER_ATTEMPTS = pytest.StashKey[dict[str, list[pytest.TestReport]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "retry(times): try again after a failure, this many times at most")
    config.stash[OTHER_ATTEMPTS] = {}


@pytest.fixture
def attempt(request: pytest.FixtureRequest) -> int:
    """Which try of the test this is, counted from 1."""
    return request.node.stash.get(ATTEMPT, 1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    marker = item.get_closest_marker("retry")
    if marker is None:
        return None
    hooks = item.ihook
    hooks.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _retried(item, nextitem, more=marker.kwargs["times"]):
        hooks.pytest_runtest_logreport(report=report)
    hooks.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _retried(item: pytest.Item, nextitem: pytest.Item | None, *, more: int) -> list[pytest.TestReport]:
    """Try until it passes. Returns what stands for the test: the try that passed, or else the first one."""
    tries: list[list[pytest.TestReport]] = []
    for attempt in range(1, more + 2):
        item.stash[ATTEMPT] = attempt
        tries.append(runtestprotocol(item, nextitem=nextitem, log=False))
        if not any(report.failed for report in tries[-1]):
            break
    passed = not any(report.failed for report in tries[-1])
    shown = tries.pop(-1 if passed else 0)
    failures = [next(report for report in reports if report.failed) for reports in tries]
    if failures:
        item.config.stash[OTHER_ATTEMPTS][item.nodeid] = failures
    return shown


# Last, when pytest's own junitxml plugin has written the file.
@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("xmlpath", None)
    other_attempts = session.config.stash[OTHER_ATTEMPTS]
    if path and other_attempts:
        write_attempts(Path(path), other_attempts)


def write_attempts(path: Path, other_attempts: dict[str, list[pytest.TestReport]]) -> None:
    tree = ET.parse(path)
    cases = {(case.get("classname"), case.get("name")): case for case in tree.iter("testcase")}
    for nodeid, reports in other_attempts.items():
        case = cases[_address(nodeid)]
        passed = case.find("failure") is None and case.find("error") is None
        case.extend(_elements(reports, prefix="flaky" if passed else "rerun"))
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _address(nodeid: str) -> tuple[str, str]:
    """The class name and name under which pytest writes a test into the report."""
    path, *classes, name = nodeid.split("::")
    return ".".join([path.removesuffix(".py").replace("/", "."), *classes]), name


def _elements(reports: list[pytest.TestReport], *, prefix: str) -> Iterator[ET.Element]:
    for report in reports:
        kind = "Failure" if report.when == "call" else "Error"
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash else report.longreprtext
        element = ET.Element(
            prefix + kind, message=message, type=message.split(":")[0], time=f"{report.duration:.3f}"
        )
        ET.SubElement(element, "stackTrace").text = report.longreprtext
        yield element


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for nodeid, reports in config.stash[OTHER_ATTEMPTS].items():
        terminalreporter.write_line(f"RETRIED {nodeid}: {len(reports)} further failure(s), in the report")
