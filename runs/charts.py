"""Marks and charts as inline SVG: pure functions from values to markup.

Geometry is in SVG attributes, never in `style`, so the content policy holds. One path per kind of mark,
not one node per result: a strip of sixty results is at most eight nodes. Everything named by people is
escaped here, so what is returned is safe to print.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from runs.queries.axis import ticks
from runs.queries.marks import WORDS, Mark
from runs.queries.text import one_line

_CLASSES = {
    Mark.PASSED: "m-pass",
    Mark.FAILED: "m-fail",
    Mark.FLAKY: "m-flaky",
    Mark.SKIPPED: "m-skip",
    Mark.ERRORED: "m-infra",
    Mark.RUNNING: "m-run",
    Mark.CANCELLED: "m-skip",
    Mark.MISSING: "m-rest",
}
_TALL_STRIP = 24


def num(value: float) -> str:
    """A coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _svg(markup: str) -> SafeString:
    return mark_safe(markup)  # noqa: S308 - built from numbers, fixed names and escaped labels


def _label(text: str) -> str:
    return f'role="img" aria-label="{escape(one_line(text))}"' if text else 'aria-hidden="true"'


def summary(marks: str) -> str:
    """What a strip shows, in words."""
    if not marks:
        return "no results yet"
    counts = Counter(marks)
    parts = [f"{counts[mark]} {WORDS[mark]}" for mark in Mark if counts[mark]]
    return f"{', '.join(parts)}. Latest {WORDS[Mark(marks[-1])]}"


def strip(
    marks: str, *, width: int = 6, gap: int = 2, height: int = 16, label: str = "", fluid: bool = False
) -> SafeString:
    """Results side by side, newest right. `marks` is one letter of `Mark` each; no label means decoration."""
    total = max(len(marks) * (width + gap) - gap, 1)
    low = max(3, round(height * (0.34 if height < _TALL_STRIP else 0.24)))
    paths = [_passes(marks, width, gap, height, low)] + [
        _path(mark, marks, width, gap, height, low)
        for mark in Mark
        if mark is not Mark.PASSED and mark in marks
    ]
    box = f'viewBox="0 0 {total} {height}" '
    box += f'preserveAspectRatio="none" height="{height}"' if fluid else f'width="{total}" height="{height}"'
    text = f"{label}: {summary(marks)}" if label else ""
    return _svg(f'<svg class="strip{" fluid" if fluid else ""}" {box} {_label(text)}>{"".join(paths)}</svg>')


def _passes(marks: str, width: int, gap: int, height: int, low: int) -> str:
    """Passes are most of a strip: each unbroken row of them is one dashed stroke."""
    step, line, at = width + gap, "", 0
    for mark, group in groupby(marks):
        count = len(list(group))
        if mark == Mark.PASSED:
            line += f"M{at * step} {num(height - low / 2)}h{count * step - gap}"
        at += count
    if not line:
        return ""
    return f'<path class="d-pass" stroke-width="{low}" stroke-dasharray="{width} {gap}" d="{line}"/>'


def _path(mark: Mark, marks: str, width: int, gap: int, height: int, low: int) -> str:
    step = width + gap
    line = "".join(
        _shape(mark, index * step, width, height, low) for index, letter in enumerate(marks) if letter == mark
    )
    css = {Mark.RUNNING: "m-run pulse", Mark.MISSING: "m-none"}.get(mark, _CLASSES[mark])
    return f'<path class="{css}" d="{line}"/>'


def _shape(mark: Mark, x: int, width: int, height: int, low: int) -> str:
    if mark is Mark.FAILED:
        return f"M{x} 0h{width}v{height}h-{width}z"
    if mark is Mark.FLAKY:
        upper = num(height - low - height * 0.2)
        return f"M{x} {height - low}h{width}v{low}h-{width}zM{x} 0h{width}v{upper}h-{width}z"
    if mark is Mark.ERRORED:
        inner, tall = num(width - 1.3), num(height - 1.3)
        return f"M{num(x + 0.65)} .65h{inner}v{tall}h-{inner}z"
    if mark is Mark.RUNNING:
        return f"M{x} {num(height * 0.35)}h{width}v{num(height * 0.3)}h-{width}z"
    if mark is Mark.MISSING:
        return f"M{num(x + width / 2 - 1)} {height - 2}h2v2h-2z"
    return f"M{x} {height - 2}h{width}v2h-{width}z"


def scrub(
    marks: str, *, ident: str, label: str, width: int = 8, gap: int = 2, height: int = 40
) -> SafeString:
    """A strip to walk with the arrow keys: one tab stop; `scrub.js` moves the cursor and the readout."""
    cursor = f'<rect class="cursor" y="0" height="{height}" width="{width}" x="-99"/>'
    drawing = strip(marks, width=width, gap=gap, height=height, fluid=True).replace(
        "</svg>", f"{cursor}</svg>"
    )
    return _svg(
        f'<div class="scrub" id="{escape(ident)}" data-controller="scrub" tabindex="0" role="slider" '
        f'aria-label="{escape(one_line(label))}" aria-orientation="horizontal" aria-valuemin="1" '
        f'aria-valuemax="{len(marks)}" aria-valuenow="{len(marks)}" '
        f'aria-valuetext="{escape(summary(marks))}" '
        f'data-step="{width + gap}">{drawing}</div>'
    )


def bar(
    parts: Sequence[tuple[str, float]],
    *,
    width: int = 96,
    height: int = 8,
    total: float = 0,
    label: str = "",
    fluid: bool = False,
) -> SafeString:
    """Proportions side by side. A part is a `Mark` letter or a class, and its value."""
    whole = total or sum(value for _, value in parts) or 1
    x, rects = 0.0, []
    for name, value in parts:
        if not value:
            continue
        css = _CLASSES[Mark(name)] if name in set(Mark) else name
        # A single failure among thousands must still be seen.
        wide = max(value / whole * width, 2 if name in {Mark.FAILED, Mark.FLAKY} else 0)
        rects.append(
            f'<rect class="{escape(css)}" x="{num(x)}" y="0" width="{num(wide)}" height="{height}"/>'
        )
        x += wide
    box = f'viewBox="0 0 {width} {height}" height="{height}" '
    box += 'preserveAspectRatio="none"' if fluid else f'width="{width}"'
    return _svg(f'<svg class="bar{" fluid" if fluid else ""}" {box} {_label(label)}>{"".join(rects)}</svg>')


def spark(
    values: Sequence[float], *, width: int = 72, height: int = 24, is_bad: bool = False, label: str = ""
) -> SafeString:
    """Direction, not values; always beside a number. Nothing below two values."""
    if len(values) < 2:  # noqa: PLR2004 - a line has two ends
        return _svg("")
    low, high = min(values), max(values)
    span = (high - low) or 1
    points = [
        (2 + i * (width - 6) / (len(values) - 1), 3 + (height - 6) * (1 - (value - low) / span))
        for i, value in enumerate(values)
    ]
    line = "M" + "L".join(f"{num(x)} {num(y)}" for x, y in points)
    end_x, end_y = points[-1]
    return _svg(
        f'<svg class="spark{" bad" if is_bad else ""}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" {_label(label)}>'
        f'<path class="area" d="{line}L{num(end_x)} {height}L2 {height}z"/><path d="{line}"/>'
        f'<circle cx="{num(end_x)}" cy="{num(end_y)}" r="2.5"/></svg>'
    )


def whisker(
    low: float,
    value: float,
    high: float,
    *,
    end: float,
    width: int = 96,
    height: int = 16,
    label: str = "",
) -> SafeString:
    """An estimate as a dot on the line of its interval, from 0 to `end`; always beside the number."""
    inner, middle = width - 6, height / 2

    def at(share: float) -> str:
        return num(3 + min(share / (end or 1), 1) * inner)

    return _svg(
        f'<svg class="whisk" width="{width}" height="{height}" {_label(label)}>'
        f'<line class="m-line" x1="3" y1="{height - 1}" x2="{width - 3}" y2="{height - 1}"/>'
        f'<path class="reach" stroke-width="1.5" d="M{at(low)} {num(middle)}H{at(high)}'
        f'M{at(low)} {num(middle - 3)}v6M{at(high)} {num(middle - 3)}v6"/>'
        f'<circle cx="{at(value)}" cy="{num(middle)}" r="3"/></svg>'
    )


def shift(before: float, after: float, *, end: float, width: int = 168) -> SafeString:
    """From an open dot to a full one on a line from 0 to `end`; decoration: both numbers stand beside it."""
    first, last = (num(3 + min(value / (end or 1), 1) * (width - 6)) for value in (before, after))
    return _svg(
        f'<svg class="whisk" width="{width}" height="16" aria-hidden="true">'
        f'<line class="m-line" x1="3" y1="15" x2="{width - 3}" y2="15"/>'
        f'<line x1="{first}" y1="8" x2="{last}" y2="8" stroke-width="1.5"/>'
        f'<circle class="open" cx="{first}" cy="8" r="3"/>'
        f'<circle class="m-fail" cx="{last}" cy="8" r="3.5"/></svg>'
    )


def columns(counts: Sequence[int], *, label: str, width: int = 1000, height: int = 44) -> SafeString:
    """How many failures there were in each bucket, oldest left, from the base line up; a dot for none."""
    highest, step = max(counts, default=0) or 1, width / max(len(counts), 1)
    tall = empty = ""
    for place, count in enumerate(counts):
        x, wide = place * step + 1.5, max(step - 3, 1)
        if count:
            high = max(count / highest * (height - 2), 2)
            tall += f"M{num(x)} {height}v-{num(high)}h{num(wide)}v{num(high)}z"
        else:
            empty += f"M{num(x)} {height}v-1h{num(wide)}v1z"
    return _svg(
        f'<svg class="strip fluid" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'height="{height}" {_label(label)}><path class="m-rest" d="{empty}"/>'
        f'<path class="m-fail" d="{tall}"/></svg>'
    )


#: Letters that a name may take in a part of a bar; the part cuts what does not fit.
_PART_NAME_LENGTH = 60
#: Between parts, in per cent of the whole.
_PART_GAP = 0.3


def shares(parts: Sequence[tuple[str, float]], *, label: str = "") -> SafeString:
    """Parts of a whole side by side, largest first, each with its name and per cent below it."""
    x, drawn, told = 0.0, [], []
    for place, (name, share) in enumerate(parts, 1):
        text = f"{one_line(name, _PART_NAME_LENGTH)} {share:.0%}"
        told.append(text)
        drawn.append(
            f'<svg x="{num(x * 100)}%" width="{num(max(share * 100 - _PART_GAP, 0))}%" height="32">'
            f'<rect class="pa-{min(place, 4)}" width="100%" height="12"/>'
            f'<text x="0" y="28">{escape(text)}</text></svg>'
        )
        x += share
    words = f"{label}: {', '.join(told)}" if label else ""
    return _svg(f'<svg class="pareto" width="100%" height="32" {_label(words)}>{"".join(drawn)}</svg>')


#: Every so many columns of a grid are told by name; a sign's word needs so much room.
_TOLD_EVERY = 10
_SIGN_ROOM = 90


def run_axis(labels: Sequence[str], signs: Sequence[str], *, step: int = 12) -> SafeString:
    """The head of a grid, a column per run: some by name, and a triangle over each that has a sign.

    A sign's first word stands beside its triangle where there is room; all of them are listed elsewhere.
    """
    parts = [
        f'<text x="{at * step}" y="12">{escape(one_line(label, 12))}</text>'
        f'<path class="m-line" d="M{at * step + 0.5} 17v5"/>'
        for at, label in enumerate(labels)
        if at % _TOLD_EVERY == 0
    ]
    places = [at for at, sign in enumerate(signs) if sign]
    for place, at in enumerate(places):
        x, room = at * step + step / 2 - 1, (places[place + 1 :] or [len(labels)])[0] - at
        parts.append(f'<path class="m-infra" d="M{num(x)} 23.5l4.5 8h-9z"/>')
        if room * step >= _SIGN_ROOM:
            word = one_line(signs[at], 16).partition(":")[0]
            parts.append(f'<text x="{num(x + 8)}" y="31">{escape(word)}</text>')
    width = max(len(labels) * step - 2, 1)
    return _svg(f'<svg class="colhead" width="{width}" height="36" aria-hidden="true">{"".join(parts)}</svg>')


#: A stretch of a lane: its kind (pull, create, start, wait, up, tests, bad, fault), start and end in seconds.
type Segment = tuple[str, float, float]

_SEGMENT_BOX = {"up": (4.0, 5.0), "tests": (4.0, 5.0), "wait": (2.0, 6.0)}


def run_columns(counts: Sequence[tuple[int, int]], *, label: str, height: int = 44) -> SafeString:
    """Runs per slice of time with the failed ones at the bottom, on the base line, oldest left."""
    width = 1000
    highest, step = max((total for total, _ in counts), default=0) or 1, width / max(len(counts), 1)
    rest = bad = ""
    for place, (total, failed) in enumerate(counts):
        x, wide = place * step + 1.5, max(step - 3, 1)
        low, high = failed / highest * (height - 2), (total - failed) / highest * (height - 2)
        if failed:
            bad += f"M{num(x)} {height}v-{num(low)}h{num(wide)}v{num(low)}z"
        if total > failed:
            rest += f"M{num(x)} {num(height - low - bool(failed))}v-{num(high)}h{num(wide)}v{num(high)}z"
    return _svg(
        f'<svg class="strip fluid" viewBox="0 0 {width} {height}" preserveAspectRatio="none" '
        f'height="{height}" {_label(label)}><path class="m-rest" d="{rest}"/>'
        f'<path class="m-fail" d="{bad}"/></svg>'
    )


def gantt(
    segments: Sequence[Segment], *, end: float, now: float | None = None, label: str = "", height: int = 14
) -> SafeString:
    """One lane of a timeline `end` seconds long, scaled to 1,000 units with a grid line at each tick."""
    scale = 1000 / (end or 1)
    grid = "".join(f'<path class="g-grid" d="M{num(tick * scale)} -8v{height + 16}"/>' for tick in ticks(end))
    rects = []
    for kind, begins, ends in segments:
        tall, y = _SEGMENT_BOX.get(kind, (float(height), 0.0))
        wide = max((ends - begins) * scale, 3)
        rects.append(
            f'<rect class="g-{escape(kind)}" x="{num(begins * scale)}" y="{num(y)}" '
            f'width="{num(wide)}" height="{num(tall)}"/>'
        )
    mark = "" if now is None else f'<path class="g-now" d="M{num(now * scale)} -8v{height + 16}"/>'
    return _svg(
        f'<svg viewBox="0 0 1000 {height}" preserveAspectRatio="none" {_label(label)}>'
        f"{grid}{''.join(rects)}{mark}</svg>"
    )
