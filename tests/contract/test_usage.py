"""What every engine promises of measuring what services use."""

from __future__ import annotations

import threading
from itertools import islice

from tests.contract.conftest import Place
from tests.contract.services import service, spec_of

MEBIBYTE = 1024 * 1024


def test_a_service_is_measured_each_second(place: Place) -> None:
    program = "held = bytearray(b'x') * (40 * 1024 * 1024)\nprint('full', flush=True)\nwhile True: pass"
    place.up(spec_of(service("busy", program)))
    place.until_said("busy", "full")
    stop = threading.Event()

    first, second = islice(place.engine.usage(place.ref, "busy", stop=stop), 2)

    stop.set()
    assert 40 * MEBIBYTE <= second.memory_bytes <= 80 * MEBIBYTE
    seconds = (second.at - first.at).total_seconds()
    assert 0.5 <= seconds <= 3
    # One busy thread: never much more than one processor, and not nothing however many share the machine.
    assert 0.05 <= (second.cpu_ns - first.cpu_ns) / 1e9 / seconds <= 1.3


def test_measuring_ends_when_asked(place: Place) -> None:
    place.up(spec_of(service("one")))
    stop = threading.Event()
    samples = place.engine.usage(place.ref, "one", stop=stop)
    next(samples)

    stop.set()

    assert len(list(samples)) <= 1


def test_nothing_is_measured_of_a_service_that_is_not_there(place: Place) -> None:
    place.create(spec_of(service("one")))

    assert list(place.engine.usage(place.ref, "two", stop=threading.Event())) == []
