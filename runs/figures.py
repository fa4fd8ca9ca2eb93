"""Charts that people explore: drawn as SVG by the server, taken over by Plotly in the same box.

A `Figure` is what both draw, so they cannot differ. Plotly's part is a plain dict: its own package would
take a hundred times as long to build one (docs/decisions/0145). Colours are named after tokens, in `meta`
of traces and `name` of shapes and annotations; `charts.js` looks them up, since they change with the theme.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from runs.charts import num
from runs.queries.axis import axis_end, ticks
from runs.queries.durations import DurationTrend, LevelChange, PacePoint

#: The box, in the SVG's units; its height is the page's, 15 rem.
WIDTH: Final = 820
HEIGHT: Final = 240
_TOP, _RIGHT, _BOTTOM, _LEFT = 8, 12, 26, 56
#: Below this, in seconds, an axis counts in milliseconds.
_SMALL: Final = 0.5
_DATE_COUNT: Final = 6
_LABEL_COUNT: Final = 3
_LINE: Final = 14
#: Room for the highest dot.
_HEADROOM: Final = 1.08
#: From here on a label stands left of its rule, so that it stays inside.
_LATE: Final = 0.5
_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}")
#: Fewer points say nothing of a level.
_FEW: Final = 10

type Unit = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A vertical line between two points, and what it marks. `ink` is a token's name."""

    at: float
    label: str
    ink: str


@dataclass(frozen=True, slots=True)
class Figure:
    """Values over runs: dots, levels as steps, rules. Positions count from 0, values are seconds."""

    values: list[float]
    #: What a dot says: its run's number and its duration in words.
    names: list[tuple[int, str]]
    #: (from, to, value) of each level, up to but without `to`.
    levels: list[tuple[int, int, float]]
    rules: list[Rule]
    dates: list[tuple[int, str]]
    marks: list[tuple[float, str]]

    @property
    def top(self) -> float:
        """The axis's end."""
        return self.marks[-1][0] if self.marks else 1.0


def duration_figure(trend: DurationTrend, unit: Unit) -> Figure:
    """Passes as dots, the median between changes as steps, the largest changes named.

    `unit` says milliseconds in words.
    """
    values = trend.seconds
    changes = sorted(trend.changes, key=lambda change: -abs(change.added_seconds))[:_LABEL_COUNT]
    named = {change.index for change in changes}
    return Figure(
        values=values,
        names=[(point.number, unit(point.seconds * 1000)) for point in trend.points],
        levels=[(level.start, level.end, level.median) for level in trend.levels],
        rules=[
            Rule(
                at=change.index - 0.5,
                label=_change_words(change, unit) if change.index in named else "",
                ink="fail-text" if change.added_seconds > 0 else "pass-text",
            )
            for change in trend.changes
        ],
        dates=_dates(trend.points),
        marks=_axis(max(values, default=0.0), unit),
    )


def finding(trend: DurationTrend, unit: Unit) -> str:
    """What the chart shows, in words: its caption."""
    if trend.spread is None:
        return ""
    count = len(trend.points)
    usual = unit(trend.spread.p50 * 1000)
    if count < _FEW:
        return f"Median {usual} of {count} pass{'es' if count > 1 else ''}: too few to speak of a trend."
    changes = trend.changes
    if not changes:
        slow = unit(trend.spread.p95 * 1000)
        return f"No change in {count} passes: median {usual}, and 95% took at most {slow}."
    last = changes[-1]
    way = "up" if last.added_seconds > 0 else "down"
    first = "One step" if len(changes) == 1 else f"{len(changes)} changes; the last a step"
    before, after = unit(last.before.median * 1000), unit(last.after.median * 1000)
    return (
        f"{first} {way}: the median went from {before} to {after} at {place_words(last.point)} "
        f"({last.point.at:%-d %b}) and has stayed there for {count - last.index} passes."
    )


def place_words(point: PacePoint) -> str:
    """Where it was, as people write it: the commit, where it has the form of one, else the run."""
    return point.commit[:8] if _COMMIT.fullmatch(point.commit) else f"#{point.number}"


def as_svg(figure: Figure) -> SafeString:
    """The drawing for the first paint, and for pages without scripts."""
    inner_width, inner_height = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
    count = max(len(figure.values), 1)

    def across(position: float) -> str:
        return num(_LEFT + (position + 0.5) * inner_width / count)

    def up(value: float) -> str:
        return num(_TOP + inner_height * (1 - value / figure.top))

    parts = [
        f'<path class="g-grid" d="M{_LEFT} {up(value)}H{WIDTH - _RIGHT}"/>'
        f'<text x="{_LEFT - 6}" y="{up(value)}" dy="4" text-anchor="end">{escape(text)}</text>'
        for value, text in figure.marks
    ]
    parts += [
        f'<text x="{across(at)}" y="{HEIGHT - 6}" text-anchor="middle">{escape(text)}</text>'
        for at, text in figure.dates
    ]
    dots = "".join(
        f'<circle cx="{across(at)}" cy="{up(value)}" r="2.25"/>' for at, value in enumerate(figure.values)
    )
    parts.append(f'<g class="m-tick-dot">{dots}</g>')
    steps = "L".join(
        f"{across(start - 0.5)} {up(value)}H{across(end - 0.5)}" for start, end, value in figure.levels
    )
    if steps:
        parts.append(
            f'<path class="c-line" fill="none" stroke-width="2" stroke-linejoin="round" d="M{steps}"/>'
        )
    parts += [
        f'<path class="m-tick" stroke-dasharray="2 3" d="M{across(rule.at)} {_TOP}V{HEIGHT - _BOTTOM}"/>'
        f'<text class="t-{rule.ink}" x="{across(rule.at)}" y="{_TOP + 11 + _LINE * row}" dx="{shift}" '
        f'text-anchor="{anchor}">{escape(rule.label)}</text>'
        for rule, row, shift, anchor in _placed(figure)
    ]
    return mark_safe(  # noqa: S308 - built from numbers, fixed names and escaped words
        f'<svg class="graph" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{"".join(parts)}</svg>'
    )


def as_plotly(figure: Figure) -> dict[str, Any]:
    """The same as Plotly's `data` and `layout`, without colours and fonts."""
    steps = [(at - 0.5, value) for start, end, value in figure.levels for at in (start, end)]
    axis: dict[str, Any] = {"fixedrange": True, "zeroline": False, "tickmode": "array"}
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "markers",
                "x": list(range(len(figure.values))),
                "y": figure.values,
                "customdata": figure.names,
                "hovertemplate": "#%{customdata[0]}: %{customdata[1]}<extra></extra>",
                "marker": {"size": 4.5, "opacity": 0.65},
                "meta": {"ink": "text-3"},
            },
            {
                "type": "scatter",
                "mode": "lines",
                "x": [at for at, _ in steps],
                "y": [value for _, value in steps],
                "hoverinfo": "skip",
                "line": {"width": 2},
                "meta": {"ink": "accent"},
            },
        ],
        "layout": {
            "margin": {"l": _LEFT, "r": _RIGHT, "t": _TOP, "b": _BOTTOM},
            "showlegend": False,
            "hovermode": "closest",
            "dragmode": False,
            "xaxis": axis
            | {
                "showgrid": False,
                "range": [-0.5, max(len(figure.values), 1) - 0.5],
                "tickvals": [at for at, _ in figure.dates],
                "ticktext": [text for _, text in figure.dates],
            },
            "yaxis": axis
            | {
                "range": [0, figure.top],
                "tickvals": [value for value, _ in figure.marks],
                "ticktext": [text for _, text in figure.marks],
            },
            "shapes": [
                {
                    "type": "line",
                    "x0": rule.at,
                    "x1": rule.at,
                    "yref": "paper",
                    "y0": 0,
                    "y1": 1,
                    "line": {"width": 1, "dash": "dot"},
                    "name": "text-3",
                }
                for rule in figure.rules
            ],
            "annotations": [
                {
                    "x": rule.at,
                    "yref": "paper",
                    "y": 1,
                    "text": rule.label,
                    "showarrow": False,
                    "xanchor": "right" if anchor == "end" else "left",
                    "yanchor": "top",
                    "xshift": shift,
                    "yshift": -_LINE * row,
                    "name": rule.ink,
                }
                for rule, row, shift, anchor in _placed(figure)
                if rule.label
            ],
        },
    }


def as_json(figure: Figure) -> SafeString:
    """Plotly's part for a data block of a page: nothing in it can end the block."""
    text = json.dumps(as_plotly(figure), separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return mark_safe(text)  # noqa: S308 - the letters that could end the block are written as escapes


def _placed(figure: Figure) -> list[tuple[Rule, int, int, str]]:
    """Rules with the line their label stands on, its distance and its anchor: neighbours must not touch."""
    late = _LATE * len(figure.values)
    placed, row = [], 0
    for rule in figure.rules:
        right = rule.at > late
        placed.append((rule, row % _LABEL_COUNT, -6 if right else 6, "end" if right else "start"))
        row += bool(rule.label)
    return placed


def _change_words(change: LevelChange, unit: Unit) -> str:
    sign = "+" if change.added_seconds > 0 else "−"  # noqa: RUF001 - a minus
    return f"{sign}{unit(abs(change.added_seconds) * 1000)} at {place_words(change.point)}"


def _axis(highest: float, unit: Unit) -> list[tuple[float, str]]:
    """Round steps from 0 to above the highest value, in milliseconds when that is small."""
    scale = 1000 if highest < _SMALL else 1
    end = axis_end(highest * _HEADROOM * scale) if highest > 0 else 1.0
    return [(tick / scale, unit(tick * 1000 / scale) if tick else "0") for tick in ticks(end)]


def _dates(points: Sequence[PacePoint]) -> list[tuple[int, str]]:
    """A few days along the axis, none twice."""
    count = min(_DATE_COUNT, len(points))
    places = [round((step + 0.5) * len(points) / count - 0.5) for step in range(count)]
    found: dict[str, int] = {}
    for place in places:
        found.setdefault(f"{points[place].at:%-d %b}", place)
    return [(place, text) for text, place in found.items()]
