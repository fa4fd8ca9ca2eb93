"""Where a process that owns an environment is killed: before, during or after a request or call. Plain."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

#: Requests to a container engine by what they are for; the first that matches.
REQUESTS = (
    ("create network", re.compile(r"POST .*/networks/create")),
    ("create volume", re.compile(r"POST .*/volumes/create")),
    ("create container", re.compile(r"POST .*/containers/create")),
    ("copy in", re.compile(r"PUT .*/archive")),
    ("start", re.compile(r"POST .*/containers/[^/]+/start")),
    ("probe", re.compile(r"POST .*/exec")),
    ("follow", re.compile(r"GET .*/(?:logs|stats|events)\b")),
    ("collect", re.compile(r"GET .*/archive")),
    ("look", re.compile(r"GET .*/containers/[^/]+/json")),
    ("remove container", re.compile(r"DELETE .*/containers/")),
    ("remove network", re.compile(r"DELETE .*/networks/")),
    ("remove volume", re.compile(r"DELETE .*/volumes/")),
)
OTHER = "other"
#: How many of these a life takes depends on how fast the machine is.
VARYING = frozenset({"probe", "look", "follow", OTHER, "execute", "inspect_service"})


class Moment(StrEnum):
    """When, seen from the request."""

    BEFORE = "before"
    #: It has been sent; nobody will read the answer.
    WHILE = "while"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Point:
    """The end of one life."""

    #: What is being done: a name of `REQUESTS`, or of a method of the engine.
    kind: str
    #: The how manieth of its kind in this life, from 1.
    number: int
    moment: Moment
    #: With `WHILE`: how long after the sending.
    delay_seconds: float = 0.0


def kind_of(method: str, url: str) -> str:
    """What a request is for."""
    words = f"{method} {url.partition('?')[0]}"
    return next((kind for kind, pattern in REQUESTS if pattern.search(words)), OTHER)


def drawn(counts: Mapping[str, int], total: int, seed: int) -> list[Point]:
    """So many points over a life that did each kind so often: every kind at least once, the rest by lot."""
    lot = random.Random(seed)
    kinds = [
        *counts,
        *lot.choices(list(counts), weights=list(counts.values()), k=max(0, total - len(counts))),
    ]
    points = []
    for kind in kinds[:total]:
        most = max(1, counts[kind] // 2) if kind in VARYING else counts[kind]
        moment = lot.choice(list(Moment))
        delay = lot.uniform(0, 0.2) if moment is Moment.WHILE else 0.0
        points.append(Point(kind, lot.randint(1, most), moment, round(delay, 4)))
    lot.shuffle(points)
    return points


def in_words(points: list[Point]) -> Iterator[str]:
    """One line for each, for whoever has to find out."""
    for point in points:
        yield f"{point.moment} {point.kind} {point.number}" + (
            f", {point.delay_seconds * 1000:.0f} ms after it was sent" if point.delay_seconds else ""
        )
