"""Columns of boxes: what is needed stands to the right of what needs it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runs.analytics.graphs import BOX_HEIGHT, BOX_WIDTH, laid_out


def test_what_is_needed_stands_to_the_right_by_the_longest_way() -> None:
    graph = laid_out(
        {"tests": ["orders", "users"], "orders": ["users", "db"], "users": ["db"], "db": ["elsewhere"]}
    )

    step = BOX_WIDTH + 72
    assert {node.name: node.x for node in graph.nodes} == {
        "tests": 1,
        "orders": 1 + step,
        "users": 1 + 2 * step,
        "db": 1 + 3 * step,
    }
    assert {(arrow.start, arrow.end) for arrow in graph.arrows} == {
        ("tests", "orders"),
        ("tests", "users"),
        ("orders", "users"),
        ("orders", "db"),
        ("users", "db"),
    }
    assert (graph.width, graph.height) == (3 * step + BOX_WIDTH + 2, BOX_HEIGHT + 2)


def test_nothing_is_drawn_of_nothing() -> None:
    graph = laid_out({})

    assert (graph.nodes, graph.arrows, graph.width, graph.height) == ([], [], 2, 2)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=4)))
def test_every_name_has_one_place_in_the_drawing_even_in_a_circle(needs: dict[str, list[str]]) -> None:
    graph = laid_out(needs)

    assert sorted(node.name for node in graph.nodes) == sorted(needs)
    assert len({(node.x, node.y) for node in graph.nodes}) == len(needs)
    for node in graph.nodes:
        assert 0 < node.x <= graph.width - BOX_WIDTH - 1
        assert 0 < node.y <= graph.height - BOX_HEIGHT - 1
    places = {node.name: node.x for node in graph.nodes}
    assert all(places[arrow.start] < places[arrow.end] for arrow in graph.arrows)
