"""Look for uploads that break the readers: documents of every format, damaged, packed and damaged again.

`python -m tests.runs.ingestion.fuzzing SECONDS` goes on for that long, anew each time, and ends with 1 at the
first input that does anything but be read or be refused with a reason.
"""

# ruff: noqa: E501 - documents stand here as tools write them

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import resource
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, cast

import hypothesis
from hypothesis import strategies as st

from runs.ingestion.archive import Budget, members_of
from runs.ingestion.attempts import Try, fold_tries
from runs.ingestion.errors import ReportError
from runs.ingestion.readers import report_reader
from runs.ingestion.report import MESSAGE_LIMIT, OUTPUT_LIMIT, TEXT_LIMIT, CaseRead, clean

CASE_LIMIT = 5_000
#: What one small input may cost: processor seconds, and memory that stays after all of them.
SECONDS_LIMIT = 5.0
MEMORY_LIMIT_BYTES = 200 * 1024 * 1024
EXAMPLES_AT_ONCE = 500
#: A note of what was cut stands behind the limit.
_NOTE = 100

SEEDS = [
    b"""<?xml version="1.0" encoding="UTF-8"?><testsuites id="" name=""><testsuite name="s" hostname="chromium"
timestamp="2026-11-21T08:00:00"><properties><property name="service" value="a,b"/></properties>
<testcase classname="c" name="t[1]" time="1,234.5" file="/a/b.py" line="3"><failure message="m" type="T">x</failure>
<rerunFailure message="again"><system-out>o</system-out></rerunFailure><system-err>[[ATTACHMENT|a.png]]</system-err>
</testcase><testcase name="u" time="PT3S" status="notrun"/><error message="set-up"/><testsuite name="n">
<testcase name="v"><flakyFailure message="f"/><skipped/></testcase></testsuite></testsuite></testsuites>""",
    b"""<test-run><test-suite type="Assembly" name="a.dll"><test-suite site="SetUp"><failure><message>m</message></failure>
</test-suite><test-case name="T(1)" fullname="N.C.T(1)" result="Failed" label="Error" duration="0.5"><properties>
<property name="service" value="x"/></properties><failure><message><![CDATA[m]]></message><stack-trace>s</stack-trace>
</failure><output>o</output></test-case></test-suite></test-run>""",
    b"""<test-results name="a.dll"><test-suite name="a.dll"><results><test-case name='N.C.T("a.b")' executed="True"
success="False" time="0.1"><failure><message>m</message></failure></test-case></results></test-suite></test-results>""",
    b"""<assemblies><assembly name="a.dll" run-date="2026-11-21"><errors><error type="x"><failure/></error></errors>
<collection><test name="N.C.T" type="N.C" method="T" time="0.1" result="Fail" source-line="3"><traits><trait name="a"
value="b"/></traits><failure exception-type="E"><message>m</message></failure></test></collection></assembly></assemblies>""",
    b"""<TestRun xmlns="http://microsoft.com/schemas/VisualStudio/TeamTest/2010"><Results><UnitTestResult testId="1"
testName="T" duration="00:00:01.5" outcome="Failed"><InnerResults><UnitTestResult testId="1" outcome="Passed"/>
</InnerResults><Output><StdOut>o</StdOut><ErrorInfo><Message>m</Message></ErrorInfo></Output></UnitTestResult></Results>
<TestDefinitions><UnitTest id="1" storage="a.dll"><TestMethod className="N.C, a" name="T"/></UnitTest>
</TestDefinitions><ResultSummary><RunInfos><RunInfo outcome="Error"><Text>x</Text></RunInfo></RunInfos></ResultSummary>
</TestRun>""",
    json.dumps(
        {
            "reportFormat": "CTRF",
            "results": {
                "tool": {"name": "é"},
                "tests": [
                    {
                        "name": "t",
                        "status": "passed",
                        "duration": 1,
                        "suite": ["a", "b"],
                        "filePath": "/x/y.ts",
                    },
                    {
                        "name": 'q"\\',
                        "status": "failed",
                        "duration": 1e3,
                        "parameters": {"a": [1, None]},
                        "retries": 1,
                        "retryAttempts": [{"attempt": 1, "status": "failed", "message": "m"}],
                        "labels": {"service": ["x", 1]},
                        "stdout": ["a"],
                    },
                ],
            },
        },
        indent=1,
    ).encode(),
    b"",
]
TOKENS = [
    b"<testcase>",
    b"</testcase>",
    b"<testsuite name='x'>" * 40,
    b"<test-case/>",
    b"<!DOCTYPE a [<!ENTITY x 'y'>]>",
    b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
    b"&x;",
    b"&#0;",
    b"&#xD800;",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"<?pi ?>",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b'"',
    b"\\",
    b"{[" * 60,
    b"]}",
    b',"results":{"tests":[{}',
    b"1e999",
    b"-0",
    b"9" * 5_000,
    b"NaN",
    b'time="1e400"',
    b'time="99999999999"',
    b'line="99999999999999"',
    b"\xc2\xa0",
    b"encoding='utf-16'",
    b"encoding='shift_jis'",
    b"a" * 20_000,
    b"\\ud800\\u0000",
    b"15 path=../a.xml\n",
    b"[[ATTACHMENT|/a/b.png]]",
]


@dataclass(frozen=True)
class Change:
    """One act of damage, at a place told in thousandths of the length."""

    kind: str
    at: int
    size: int
    token: bytes

    def of(self, data: bytes) -> bytes:
        place = len(data) * self.at // 1_000
        before, piece, after = data[:place], data[place : place + self.size], data[place + self.size :]
        match self.kind:
            case "cut":
                data = before
            case "drop":
                data = before + after
            case "again":
                data = before + piece * 2 + after
            case "flip":
                flipped = bytes(byte ^ (1 << self.size % 8) for byte in piece[:1])
                data = before + flipped + piece[1:] + after
            case "insert":
                data = before + self.token + piece + after
            case "odd-tar":
                data = _odd_header(self) + data + bytes(-len(data) % 512)
            case "utf-16":
                data = data.decode("utf-8", "replace").encode("utf-16")
            case _:
                data = PACKINGS[self.kind](data)
        return data


def _zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.xml", "b.json", "c.trx", "d.png"):
            archive.writestr(name, data)
    return packed.getvalue()


def _tarred(data: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in ("a.xml", "b/c.json"):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def _odd_header(change: Change) -> bytes:
    """A header of any kind and size that holds together: damage would end at its checksum."""
    block = bytearray(512)
    block[0:100] = change.token[:100].ljust(100, b"\0")
    sizes = (b"%011o\0" % change.size, b"\x80" + bytes(7) + change.size.to_bytes(4), b"\xff" * 12, b"7" * 12)
    block[124:136] = sizes[change.at % 4]
    block[148:156] = b" " * 8
    block[156:157] = b"0\0 1256LKxXgSVD7"[change.at % 16 :][:1]
    block[257:263] = b"ustar\0"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


PACKINGS: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zip": _zipped, "tar": _tarred}
_KINDS = ["cut", "drop", "again", "flip", "insert", "insert", "utf-16", "odd-tar", *PACKINGS]

changes = st.builds(
    Change,
    kind=st.sampled_from(_KINDS),
    at=st.integers(0, 1_000),
    size=st.integers(1, 400),
    token=st.sampled_from(TOKENS),
)
documents = st.tuples(st.sampled_from(SEEDS), st.lists(changes, max_size=6))


def damaged(seed: bytes, acts: list[Change]) -> bytes:
    """The seed after all that is done to it, one after the other."""
    for act in acts:
        seed = act.of(seed)[: 4 * 1024 * 1024]
    return seed


class _File(io.BytesIO):
    """Bytes that say what a file on a disk says."""

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and place < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return super().seek(place, whence)


def read_all(data: bytes) -> tuple[list[CaseRead], list[str]]:
    """Read an upload as a worker does; every case that came out, and the reasons for what did not."""
    cases: list[CaseRead] = []
    reasons: list[str] = []
    try:
        stream = cast("BinaryIO", _File(data))
        for member in members_of("upload", stream, Budget(packed_bytes=len(data))):
            try:
                reader = report_reader(member.stream, case_limit=CASE_LIMIT)
                own: list[CaseRead] = []
                for batch in reader.batches():
                    own.extend(batch)
            except ReportError as error:
                reasons.append(error.reason)
                continue
            summary = reader.summary
            counted = (
                summary.passed_count,
                summary.failed_count,
                summary.errored_count,
                summary.skipped_count,
            )
            assert sum(counted) == summary.case_count == len(own)
            cases += own
    except ReportError as error:
        reasons.append(error.reason)
    return cases, reasons


def check(data: bytes) -> None:
    """Hold an upload to what is promised of every upload."""
    begun = time.process_time()
    cases, reasons = read_all(data)
    spent = time.process_time() - begun
    assert spent < SECONDS_LIMIT, f"{spent:.1f} s for {len(data)} bytes"
    assert all(reason.strip() for reason in reasons)
    for case in cases:
        assert len(case.identity) == 16
        assert fold_tries([Try(one.outcome, one.duration_ms) for one in case.attempts]).tries
        for attempt in case.attempts:
            assert attempt.duration_ms is None or 0 <= attempt.duration_ms < 2**31
            assert len(attempt.output) <= OUTPUT_LIMIT + _NOTE
            if attempt.failure is not None:
                assert len(attempt.failure.message) <= MESSAGE_LIMIT + _NOTE
                assert len(attempt.failure.text) <= TEXT_LIMIT + _NOTE
            for text in (*(attempt.failure or ()), attempt.output):
                assert clean(text) == text
        told = [text for pair in (*case.properties, *case.attachments) for text in pair]
        for text in (case.path, case.class_name, case.name, case.file, case.variant, *case.services, *told):
            assert clean(text) == text


def main(seconds: float) -> None:
    """Go on for `seconds` of time; the first failure ends it with the smallest input that shows it."""
    begun, memory = time.monotonic(), _peak_memory()
    count = 0

    def one(document: tuple[bytes, list[Change]]) -> None:
        nonlocal count
        count += 1
        check(damaged(*document))

    quiet = hypothesis.settings(
        max_examples=EXAMPLES_AT_ONCE,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    while time.monotonic() - begun < seconds:
        start = random.SystemRandom().getrandbits(64)
        hypothesis.seed(start)(quiet(hypothesis.given(documents)(one)))()
    grown = _peak_memory() - memory
    told = f"{count:,} uploads in {time.monotonic() - begun:.0f} s"
    sys.stdout.write(f"{told}, memory at most {grown / 2**20:.0f} MiB more: no fault\n")
    if grown > MEMORY_LIMIT_BYTES:
        sys.exit(f"More than {MEMORY_LIMIT_BYTES / 2**20:.0f} MiB.")


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 600)
