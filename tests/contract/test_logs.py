"""What every engine promises of logs."""

from __future__ import annotations

import threading
import time

from tests.contract.conftest import Place
from tests.contract.services import service, spec_of


def test_both_streams_are_logged_in_order_with_moments(place: Place) -> None:
    program = """
import sys, time
for number in range(5):
    print("out", number, flush=True)
    time.sleep(0.01)
    print("err", number, file=sys.stderr, flush=True)
    time.sleep(0.01)
"""
    place.up(spec_of(service("one", program)))
    place.until_ended("one")

    lines = place.lines("one")
    expected = [text for number in range(5) for text in (f"out {number}", f"err {number}")]
    assert [line.text for line in lines] == expected
    assert [line.at for line in lines] == sorted(line.at for line in lines)
    assert {line.is_stderr for line in lines if line.text.startswith("out")} == {False}
    assert {line.service for line in lines} == {"one"}


def test_long_lines_arrive_whole(place: Place) -> None:
    program = "print('a' * 100_000); print('short'); print('b' * 16_384); print('c' * 16_385)"
    place.up(spec_of(service("one", program)))
    place.until_ended("one")

    assert place.texts("one") == ["a" * 100_000, "short", "b" * 16_384, "c" * 16_385]


def test_a_last_line_without_an_end_is_a_line(place: Place) -> None:
    place.up(spec_of(service("one", "print('whole'); print('half', end='')")))
    place.until_ended("one")

    assert place.texts("one") == ["whole", "half"]


def test_bytes_that_are_no_text_do_not_break_the_log(place: Place) -> None:
    program = r"import sys; sys.stdout.buffer.write(b'a\xff\xfeb\n\n\xc3\xa4\n')"
    place.up(spec_of(service("one", program)))
    place.until_ended("one")

    assert place.texts("one") == ["a\ufffd\ufffdb", "", "ä"]


def test_logs_from_a_moment_leave_out_what_was_before(place: Place) -> None:
    program = "import time\nfor n in range(4):\n    print(n, flush=True)\n    time.sleep(0.05)"
    place.up(spec_of(service("one", program)))
    place.until_ended("one")
    third = place.lines("one")[2]

    assert [line.text for line in place.engine.logs(place.ref, "one", since=third.at)] == ["2", "3"]


def test_following_a_log_gives_lines_as_they_come_and_ends_with_the_service(place: Place) -> None:
    program = (
        "import sys\nprint('asked', flush=True)\nimport time\ntime.sleep(0.6)\nprint('answered', flush=True)"
    )
    place.up(spec_of(service("one", program)))

    seen = [(line.text, time.monotonic()) for line in place.engine.logs(place.ref, "one", follow=True)]

    assert [text for text, _ in seen] == ["asked", "answered"]
    assert seen[1][1] - seen[0][1] > 0.2


def test_following_a_log_ends_within_a_second_of_being_told(place: Place) -> None:
    place.up(spec_of(service("one")))
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()

    began = time.monotonic()
    lines = [line.text for line in place.engine.logs(place.ref, "one", follow=True, stop=stop)]

    assert lines == ["up"]
    assert time.monotonic() - began < 2
