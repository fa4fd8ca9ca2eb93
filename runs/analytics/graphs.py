"""Who needs whom, laid out in columns: what is needed stands to the right of what needs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX_WIDTH, BOX_HEIGHT = 168, 44
_COLUMN_GAP, _ROW_GAP, _EDGE = 72, 18, 1


@dataclass(frozen=True, slots=True)
class Node:
    """A box; `x` and `y` are its upper left corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Arrow:
    """From the box that needs to the box that is needed: a path, and the three corners of its head."""

    start: str
    end: str
    path: str
    head: str


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes and arrows in a drawing of that size."""

    nodes: list[Node]
    arrows: list[Arrow]
    width: float
    height: float


def laid_out(needs: Mapping[str, Sequence[str]]) -> Graph:
    """Place every name; what `needs` does not know is left out, and so is an arrow that closes a circle."""
    known = {name: [other for other in others if other in needs] for name, others in needs.items()}
    columns = _columns(known)
    tallest = max((len(column) for column in columns), default=0)
    height = tallest * (BOX_HEIGHT + _ROW_GAP) - _ROW_GAP
    places: dict[str, Node] = {}
    for index, column in enumerate(columns):
        top = (height - (len(column) * (BOX_HEIGHT + _ROW_GAP) - _ROW_GAP)) / 2
        for row, name in enumerate(column):
            x = index * (BOX_WIDTH + _COLUMN_GAP) + _EDGE
            places[name] = Node(name, x, top + row * (BOX_HEIGHT + _ROW_GAP) + _EDGE)
    arrows = [
        _arrow(places[name], places[other])
        for name in places
        for other in known[name]
        if places[other].x > places[name].x
    ]
    width = len(columns) * (BOX_WIDTH + _COLUMN_GAP) - _COLUMN_GAP
    return Graph(list(places.values()), arrows, max(width, 0) + 2 * _EDGE, max(height, 0) + 2 * _EDGE)


def _columns(needs: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Names by their longest way from one that nobody needs; within a column beside what needs them."""
    depth = dict.fromkeys(needs, 0)
    # Each round moves what is needed to the right; a circle would move for ever.
    for _ in needs:
        moved = {
            other: depth[name] + 1
            for name in sorted(needs, key=lambda name: depth[name])
            for other in needs[name]
            if other != name and depth[other] <= depth[name] < len(needs) - 1
        }
        if not moved:
            break
        depth |= moved
    columns: list[list[str]] = [[] for _ in range(len(needs))]
    for name in sorted(depth):
        columns[depth[name]].append(name)
    columns = [column for column in columns if column]
    for index, column in enumerate(columns[1:], start=1):
        before = {name: row for earlier in columns[:index] for row, name in enumerate(earlier)}
        column.sort(key=lambda name: (_middle([before[one] for one in before if name in needs[one]]), name))
    return columns


def _middle(rows: Sequence[int]) -> float:
    return sum(rows) / len(rows) if rows else 0.0


def _arrow(start: Node, end: Node) -> Arrow:
    x1, y1 = start.x + BOX_WIDTH, start.y + BOX_HEIGHT / 2
    x2, y2 = end.x - 6, end.y + BOX_HEIGHT / 2
    bend = _COLUMN_GAP * 0.55
    path = f"M{x1:g} {y1:g}C{x1 + bend:g} {y1:g} {x2 - bend:g} {y2:g} {x2:g} {y2:g}"
    head = f"{x2:g},{y2 - 4:g} {x2 + 6:g},{y2:g} {x2:g},{y2 + 4:g}"
    return Arrow(start.name, end.name, path, head)
