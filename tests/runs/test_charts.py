"""Marks and charts: the grammar, the geometry, and that nothing named by people gets out of its attribute."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from runs import charts
from runs.charts import strip
from runs.queries.axis import axis_end, ticks
from runs.queries.marks import Mark, result_mark, run_mark
from runs.vocabulary import Outcome, RunStatus


def parsed(markup: str) -> ET.Element:
    return ET.fromstring(markup)


def test_every_status_and_outcome_has_a_mark() -> None:
    assert {run_mark(status) for status in RunStatus} == set(Mark) - {Mark.FLAKY, Mark.SKIPPED}
    assert [result_mark(outcome) for outcome in Outcome] == ["p", "f", "f", "s", "k"]


def test_a_run_that_passed_after_retries_is_flaky_and_a_failed_one_is_failed() -> None:
    assert run_mark("passed", flaky_count=1) == Mark.FLAKY
    assert run_mark("failed", flaky_count=1) == Mark.FAILED


def test_a_row_of_passes_is_one_stroke() -> None:
    drawing = parsed(strip("pppp"))

    (path,) = drawing
    # Four marks of 6 and three gaps of 2 are 30 wide; a pass of a 16 high strip is 5 high.
    assert drawing.attrib["viewBox"] == "0 0 30 16"
    assert path.attrib["d"] == "M0 13.5h30"
    assert path.attrib["stroke-dasharray"] == "6 2"


def test_a_strip_has_one_path_per_kind_of_mark_and_says_what_it_shows() -> None:
    drawing = parsed(strip("ppfkfser", label="checkout"))

    assert [path.attrib["class"] for path in drawing] == [
        "d-pass",
        "m-fail",
        "m-flaky",
        "m-skip",
        "m-infra",
        "m-run pulse",
    ]
    assert drawing.attrib["aria-label"] == (
        "checkout: 2 passed, 2 failed, 1 flaky, 1 skipped, 1 errored, 1 running. Latest running"
    )


def test_a_strip_without_a_label_is_decoration() -> None:
    assert parsed(strip("p")).attrib["aria-hidden"] == "true"


def test_an_empty_strip_is_drawn_too() -> None:
    assert parsed(strip("", label="checkout")).attrib["aria-label"] == "checkout: no results yet"


@pytest.mark.parametrize(
    "draw",
    [
        lambda name: strip("p", label=name),
        lambda name: charts.scrub("p", ident="history", label=name),
        lambda name: charts.bar([("p", 1)], label=name),
        lambda name: charts.spark([1, 2], label=name),
        lambda name: charts.gantt([("up", 0, 1)], end=2, label=name),
    ],
)
def test_a_name_stays_inside_its_label(draw: object) -> None:
    markup = draw('"><script>alert(1)</script>\u202e')  # type: ignore[operator] # one of the functions above

    assert "<script" not in markup
    assert "\u202e" not in markup
    assert '"><script>alert(1)</script>' in parsed(markup).attrib["aria-label"]
    assert "style=" not in markup


def test_one_failure_among_thousands_is_still_seen() -> None:
    passed, failed = parsed(charts.bar([("p", 9999), ("f", 1)], width=100))

    assert failed.attrib["width"] == "2"
    assert passed.attrib["class"] == "m-pass"


def test_a_lane_is_scaled_to_its_end_and_marked_at_round_seconds() -> None:
    drawing = parsed(charts.gantt([("start", 5, 15), ("up", 15, 20)], end=20, label="postgres"))

    grid = [path.attrib["d"] for path in drawing if path.attrib["class"] == "g-grid"]
    bars = {rect.attrib["class"]: rect.attrib for rect in drawing if rect.tag == "rect"}
    assert [line.split(" ")[0] for line in grid] == ["M0", "M250", "M500", "M750", "M1000"]
    assert (bars["g-start"]["x"], bars["g-start"]["width"]) == ("250", "500")
    assert (bars["g-up"]["height"], bars["g-up"]["y"]) == ("4", "5")


@pytest.mark.parametrize(
    ("value", "end"),
    [(0, 0.1), (0.3, 0.3), (0.31, 0.4), (1.1, 1.5), (9.02, 10), (41.2, 50), (61, 75), (7300, 9000)],
)
def test_an_axis_ends_at_a_round_number_that_holds_the_value(value: float, end: float) -> None:
    assert axis_end(value) == pytest.approx(end)


def test_an_axis_has_at_most_six_marks_from_zero_to_its_end() -> None:
    for value in (0.07, 0.9, 3, 17, 44, 333, 4_000, 30_000, 5_000_000):
        end = axis_end(value)
        marks = ticks(end)
        assert marks[0] == 0
        assert marks[-1] == pytest.approx(end)
        assert 2 <= len(marks) <= 6
    assert ticks(0) == []


def test_nothing_known_is_no_chart() -> None:
    assert charts.spark([1]) == ""


def test_a_whisker_is_to_scale_and_stays_inside() -> None:
    # 96 wide, 3 left free at each side: 0.1 of 0.2 is the middle, 48.
    drawn = parsed(charts.whisker(0.05, 0.1, 0.4, end=0.2, label="10%"))
    [line] = drawn.findall("path")
    [dot] = drawn.findall("circle")

    assert line.get("d") == "M25.5 8H93M25.5 5v6M93 5v6"
    assert dot.get("cx") == "48"
    assert drawn.get("aria-label") == "10%"


def test_shares_stand_side_by_side_with_their_names() -> None:
    drawn = parsed(charts.shares([("test_<b>", 0.75), ("the other 3", 0.25)], label="Time lost"))
    first, second = drawn.findall("svg")

    assert (first.get("x"), second.get("x"), second.get("width")) == ("0%", "75%", "24.7%")
    assert [part.findtext("text") for part in (first, second)] == ["test_<b> 75%", "the other 3 25%"]
    assert drawn.get("aria-label") == "Time lost: test_<b> 75%, the other 3 25%"


def test_the_head_of_a_grid_names_every_tenth_run_and_marks_those_not_counted() -> None:
    labels = [f"#{number}" for number in range(1, 25)]
    signs = [""] * 5 + ["outage: 9 of 10 failed"] + [""] * 15 + ["no environment", "", ""]

    drawn = parsed(charts.run_axis(labels, signs))

    # The last sign has no room for its words.
    assert [text.text for text in drawn.findall("text")] == ["#1", "#11", "#21", "outage"]
    assert [path.get("d", "")[:4] for path in drawn.findall("path[@class='m-infra']")] == ["M65 ", "M257"]
    assert drawn.get("width") == "286"


def test_a_shift_goes_from_an_open_dot_to_a_full_one() -> None:
    drawn = str(charts.shift(2, 4, end=8, width=86))

    # 80 units for 8: 2 lies at 3 + 20, 4 at 3 + 40.
    assert 'class="open" cx="23"' in drawn
    assert 'class="m-fail" cx="43"' in drawn
    assert 'cx="83"' in str(charts.shift(0, 9, end=8, width=86))
    assert "<svg" in str(charts.shift(0, 0, end=0))


def test_columns_stand_on_the_base_line_and_none_is_a_dot() -> None:
    drawn = str(charts.columns([0, 2, 4], label="a <b>", width=300, height=42))

    # Each 100 wide with a margin of 1.5; the highest is 40, half of it 20.
    assert 'd="M101.5 42v-20h97v20zM201.5 42v-40h97v40z"' in drawn
    assert 'd="M1.5 42v-1h97v1z"' in drawn
    assert "a &lt;b&gt;" in drawn
    assert str(charts.columns([], label="")).startswith("<svg")
