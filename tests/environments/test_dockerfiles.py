"""What a Dockerfile needs of a builder, and what BuildKit says of a build: plain values."""

from __future__ import annotations

import base64

import pytest

from environments.docker_engine.dockerfiles import buildkit_needs, syntax
from environments.docker_engine.traces import Trace


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("FROM a\nRUN pip install x\nCOPY . /app\n", []),
        ("FROM a\nRUN --mount=type=cache,target=/c pip install x\n", ["line 2: RUN --mount"]),
        ("FROM a\n\n# why\nRUN \\\n  # in between\n  --network=none \\\n  true\n", ["line 4: RUN --network"]),
        ("FROM a\ncopy --chmod=755 --chown=1:1 x /x\n", ["line 2: COPY --chmod"]),
        ("FROM a\nCOPY --chown=1:1 x /x\nCOPY --from=b --link y /y\n", ["line 3: COPY --link"]),
        ("FROM a\nADD --checksum=sha256:1 http://x /x\n", ["line 2: ADD --checksum"]),
        (
            "FROM a\nRUN <<EOF\nRUN --mount=x\nEOF\nRUN --mount=y true\n",
            ["line 2: a here-document (<<EOF)", "line 5: RUN --mount"],
        ),
        ("FROM a\nCOPY <<-'TEXT' /x\n\tRUN --mount=x\n\tTEXT\n", ["line 2: a here-document (<<TEXT)"]),
        (
            "FROM --platform=$BUILDPLATFORM a\nARG TARGETARCH\n",
            ["line 1: BUILDPLATFORM", "line 2: TARGETARCH"],
        ),
        ("FROM a\nRUN echo --mount=x\nENV A=--link\nRUN test 1 -lt 2\n", []),
        ("# syntax=docker/dockerfile:1\nFROM a\n", []),
    ],
)
def test_what_only_buildkit_does_is_found_with_its_line(text: str, needs: list[str]) -> None:
    assert [str(need) for need in buildkit_needs(text)] == needs


def test_only_the_first_lines_name_a_syntax() -> None:
    assert syntax("# check=skip=all\n# syntax = docker/dockerfile:1.7\nFROM a\n") == "docker/dockerfile:1.7"
    assert syntax("FROM a\n# syntax=docker/dockerfile:1\n") is None


def field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


def message(*fields: bytes) -> str:
    return base64.b64encode(b"".join(fields)).decode()


STEP = field(1, b"sha256:1") + field(3, b"[2/3] RUN echo hi")
INTERNAL = field(1, b"sha256:2") + field(3, b"[internal] load build context") + field(5, b"\x08\x01")


def test_a_step_is_told_once_when_it_begins_and_its_output_as_it_comes() -> None:
    trace = Trace()

    assert list(trace.lines(message(field(1, STEP)))) == []
    assert list(trace.lines(message(field(1, STEP + field(5, b"\x08\x01"))))) == ["[2/3] RUN echo hi"]
    assert list(trace.lines(message(field(1, STEP + field(5, b"\x08\x01"))))) == []
    printed = field(1, b"sha256:1") + bytes([3 << 3, 1]) + field(4, b"hi\n\nthere\n")
    assert list(trace.lines(message(field(3, printed)))) == ["hi", "there"]
    assert list(trace.lines(message(field(1, INTERNAL)))) == []


@pytest.mark.parametrize("encoded", ["", "not base64!", "////", base64.b64encode(b"\x0a\xff").decode()])
def test_what_is_no_message_says_nothing(encoded: str) -> None:
    assert list(Trace().lines(encoded)) == []
