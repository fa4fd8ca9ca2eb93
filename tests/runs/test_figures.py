"""Charts: what Plotly is given is what Plotly knows, and what the server draws says the same."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from itdash.finders import package_folder
from runs.figures import as_json, as_plotly, as_svg, duration_figure, finding
from runs.queries.durations import DurationTrend, PacePoint, trend_of
from tests.conftest import ROOT
from tests.factories import NOW


def unit(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms"


def trend(*seconds: float, commit: str = "77b1d05" + "0" * 33) -> DurationTrend:
    points = [
        PacePoint(number=index + 1, at=NOW + timedelta(hours=6 * index), commit=commit, seconds=value)
        for index, value in enumerate(seconds)
    ]
    return trend_of(points, with_levels=True)


STEP = trend(*[4.0, 4.1, 4.2] * 10, *[6.0, 6.1, 6.2] * 5)


def test_plotly_knows_every_attribute_of_the_figure() -> None:
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for one in (STEP, trend(0.02, 0.03), trend(*[9.0] * 20, *[4.0] * 20)):
        graph_objects.Figure(as_plotly(duration_figure(one, unit)), skip_invalid=False)

    with pytest.raises(ValueError, match="markers"):
        graph_objects.Figure({"data": [{"type": "scatter", "markers": {}}], "layout": {}})


def test_colours_are_names_of_tokens() -> None:
    figure = as_plotly(duration_figure(STEP, unit))
    tokens = (ROOT / "static/itdash/css/tokens.css").read_text()

    used = {trace["meta"]["ink"] for trace in figure["data"]}
    used |= {part["name"] for kind in ("shapes", "annotations") for part in figure["layout"][kind]}
    assert used == {"text-3", "accent", "fail-text"}
    assert all(f"--{name}:" in tokens for name in used)
    assert "color" not in json.dumps(figure)


def test_a_step_is_drawn_as_two_levels_with_a_rule_that_says_how_much_and_where() -> None:
    figure = duration_figure(STEP, unit)

    assert figure.levels == [(0, 30, 4.1), (30, 45, 6.1)]
    [rule] = figure.rules
    assert (rule.at, rule.label, rule.ink) == (29.5, "+2000 ms at 77b1d050", "fail-text")
    assert figure.top == 8.0
    drawing = as_svg(figure)
    assert drawing.count("<circle") == 45
    assert ">+2000 ms at 77b1d050</text>" in drawing
    assert "style=" not in drawing


def test_the_caption_states_the_finding() -> None:
    assert finding(STEP, unit) == (
        "One step up: the median went from 4100 ms to 6100 ms at 77b1d050 (28 Nov) "
        "and has stayed there for 15 passes."
    )
    assert finding(trend(*[4.0] * 20), unit) == (
        "No change in 20 passes: median 4000 ms, and 95% took at most 4000 ms."
    )
    assert finding(trend(4.0), unit) == "Median 4000 ms of 1 pass: too few to speak of a trend."
    assert finding(trend(), unit) == ""


def test_a_faster_level_is_good_news() -> None:
    [rule] = duration_figure(trend(*[9.0, 9.1] * 10, *[4.0, 4.1] * 10), unit).rules

    assert rule.ink == "pass-text"
    assert rule.label.startswith("−5000 ms")  # noqa: RUF001 - a minus


def test_a_commit_with_markup_in_it_is_neither_drawn_nor_sent() -> None:
    hostile = trend(*[4.0, 4.1] * 15, *[6.0, 6.1] * 10, commit="</script><b style=x>")

    figure = duration_figure(hostile, unit)

    assert figure.rules[0].label == "+2000 ms at #31"
    assert "<b" not in as_svg(figure)
    assert "<" not in as_json(figure)
    assert json.loads(as_json(figure)) == json.loads(json.dumps(as_plotly(figure)))


def test_small_durations_are_counted_in_milliseconds() -> None:
    figure = duration_figure(trend(0.018, 0.02), unit)

    # 20 ms and room above: 21.6 fits below five steps of 5 ms.
    assert [text for _, text in figure.marks] == ["0", "5 ms", "10 ms", "15 ms", "20 ms", "25 ms"]


def test_nothing_is_no_error() -> None:
    empty = duration_figure(trend(), unit)
    nothing = duration_figure(trend(0.0, 0.0), unit)

    assert "<circle" not in as_svg(empty)
    assert as_svg(nothing).count("<circle") == 2


def test_what_plotly_would_inject_for_its_maps_is_known_by_its_mark() -> None:
    """A new version of Plotly may have another: then its rules would be refused by the content policy."""
    script = (ROOT / "static/itdash/js/charts.js").read_text()
    [mark] = re.findall(r'MAPS = "([0-9a-f]{64})"', script)
    bundle = (package_folder("plotly") / "package_data/plotly.min.js").read_text()

    marks: list[Any] = re.findall(r'getElementById\("([0-9a-f]{64})"\)', bundle)
    assert marks == [mark]
    # Beside that one and Plotly's own, which a class on our link keeps away, no script makes styles.
    assert len(re.findall(r"createElement\(\W*style\W*\)", bundle)) == 2
