"""Tests that go on under another name are recognised when it is clear, and left alone when it is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.analytics.renames import Candidate, RenameKind, changed_part, name_likeness, twins_among, words_of

names = st.text("abc_XT1", min_size=1, max_size=6)
places = st.sampled_from(["shop.Cart", "shop.Basket", "shop.pay.Card", ""])
known = st.builds(
    Candidate,
    case=st.just(0),
    name=names,
    parameters=st.sampled_from(["", "[1]", "[2]"]),
    class_name=places,
    file=st.sampled_from(["", "t/a.py", "t/b.py"]),
    duration_ms=st.none() | st.integers(0, 5_000),
)


def _is_new(one: Candidate) -> tuple[str, ...]:
    return one.name, one.parameters, one.class_name, one.file


@st.composite
def sides(draw: st.DrawFn) -> tuple[list[Candidate], list[Candidate]]:
    """Cases that are gone and cases that are new: all different, as identities are."""
    drawn = draw(st.lists(known, max_size=14, unique_by=_is_new))
    cases = [replace(one, case=number) for number, one in enumerate(drawn)]
    cut = draw(st.integers(0, len(cases)))
    return cases[:cut], cases[cut:]


@settings(max_examples=40)
@given(sides(), st.data())
def test_the_order_of_what_is_given_changes_nothing(
    both: tuple[list[Candidate], list[Candidate]], data: st.DataObject
) -> None:
    missing, new = both

    assert twins_among(data.draw(st.permutations(missing)), data.draw(st.permutations(new))) == twins_among(
        missing, new
    )


@settings(max_examples=40)
@given(sides())
def test_each_case_has_one_twin_at_most_and_keeps_its_parameters(
    both: tuple[list[Candidate], list[Candidate]],
) -> None:
    missing, new = both
    gone, came = {one.case: one for one in missing}, {one.case: one for one in new}
    found = twins_among(missing, new)

    assert len({twins.old for twins in found}) == len({twins.new for twins in found}) == len(found)
    for twins in found:
        old, other = gone[twins.old], came[twins.new]
        assert old.parameters == other.parameters
        if twins.kind is RenameKind.MOVED:
            assert (old.name, old.place) != (other.name, other.place) == (old.name, other.place)
        else:
            assert old.place == other.place or twins.old_place != twins.new_place
            assert old.name != other.name


@settings(max_examples=40)
@given(st.lists(names, min_size=2, max_size=12, unique=True), st.integers(0, 3))
def test_a_class_that_moves_takes_all_of_its_tests_along(tests: list[str], others: int) -> None:
    old = [Candidate(n, name, class_name="shop.cart.Cart") for n, name in enumerate(tests)]
    new = [Candidate(100 + n, name, class_name="shop.basket.Cart") for n, name in enumerate(tests)]
    # Another class that goes, with a test of the same name as one that moved.
    old += [Candidate(50 + n, tests[n], class_name=f"Gone{n}") for n in range(min(others, len(tests)))]

    found = {twins.old: twins for twins in twins_among(old, new) if twins.old < 50}

    assert {before: twins.new for before, twins in found.items()} == {n: 100 + n for n in range(len(tests))}
    assert {(twins.old_place, twins.new_place) for twins in found.values()} == {("shop.cart", "shop.basket")}
    assert {twins.companions for twins in found.values()} == {len(tests)}


@given(sides())
def test_nothing_is_said_when_nothing_is_gone_or_nothing_is_new(
    both: tuple[list[Candidate], list[Candidate]],
) -> None:
    assert twins_among(both[0], []) == twins_among([], both[1]) == []


def one(case: int, name: str, **values: object) -> Candidate:
    return replace(Candidate(case, name, class_name="shop.Cart"), **values)  # type: ignore[arg-type]


def pairs(missing: list[Candidate], new: list[Candidate]) -> list[tuple[int, int]]:
    return [(twins.old, twins.new) for twins in twins_among(missing, new)]


@pytest.mark.parametrize(
    ("old", "new", "is_one"),
    [
        ("test_places_order", "test_places_an_order", True),  # words: 2·2/5 = 0.8
        ("test_total", "test_totals", True),  # letters: 2·4/9 = 0.89
        ("testTotal", "test_total", True),
        ("test_get", "test_put", False),
        ("test_create_user", "test_delete_user", False),
        ("pays", "checks_out", False),
        # A number is a parameter, wherever it stands: a row's next case, an id made anew, a port.
        ("creates_a_user_for_order_3", "creates_a_user_for_order_4", False),
        ("opens 6f1c2a9b-1d2e of the customer", "opens 9a2b7c1d-3f4a of the customer", False),
        ("test_listens_on_port_53817", "test_listens_on_port_40211", False),
        ("test_lists_v2_orders", "test_lists_all_v2_orders", True),
    ],
)
def test_names_are_compared_by_words_and_letters(old: str, new: str, *, is_one: bool) -> None:
    assert pairs([one(1, old)], [one(2, new)]) == ([(1, 2)] if is_one else [])


def test_two_that_fit_as_well_are_not_told_apart() -> None:
    gone = [one(1, "test_places_order")]

    assert pairs(gone, [one(2, "test_places_order_a"), one(3, "test_places_order_b")]) == []
    # 0.8·0.8 + 0.2 against 0.8·0.8 + 0.2·(100/1050): the pace decides.
    timed = [replace(gone[0], duration_ms=50)]
    slow, quick = (
        one(2, "test_places_order_a", duration_ms=1_000),
        one(3, "test_places_order_b", duration_ms=50),
    )
    assert pairs(timed, [slow, quick]) == [(1, 3)]


def test_a_common_name_alone_is_no_move() -> None:
    assert pairs([one(1, "test_get")], [one(2, "test_get", class_name="audit.export.Csv")]) == []
    assert pairs([one(1, "test_get")], [one(2, "test_get", class_name="shop.Basket.Cart")]) == [(1, 2)]


def test_a_test_may_be_renamed_on_the_way_of_its_class() -> None:
    names = ["pays", "refunds", "keeps_the_receipt_for_a_year"]
    gone = [one(n, name, class_name="shop.pay.Card", file="shop/pay.py") for n, name in enumerate(names)]
    new_names = ["pays", "refunds", "keeps_a_receipt_for_a_year"]
    came = [
        one(10 + n, name, class_name="bank.Card", file="bank/card.py") for n, name in enumerate(new_names)
    ]

    assert pairs(gone, came) == [(0, 10), (1, 11), (2, 12)]
    [on_the_way] = [twins for twins in twins_among(gone, came) if twins.old == 2]
    assert (on_the_way.kind, on_the_way.old_place, on_the_way.new_place) == (
        RenameKind.RENAMED,
        "shop/pay",
        "bank/card",
    )
    # One companion is chance, and by itself it is not found; nor where its class went two ways.
    assert pairs(gone[1:], came[1:]) == []
    assert pairs(gone[2:], came[2:]) == []
    parted = [*came[:2], replace(came[1], case=20, class_name="bank.Cash", name="holds"), came[2]]
    elsewhere = [*gone, one(3, "holds", class_name="shop.pay.Card", file="shop/pay.py")]
    assert (2, 12) not in pairs(elsewhere, parted)


def test_a_folder_that_moves_takes_a_hundred_classes_along_and_those_that_changed_their_names() -> None:
    tests = [(n, f"c{n % 100}", ["opens", "closes", "keeps_all_that_it_holds"][n // 100]) for n in range(300)]
    gone = [one(n, name, class_name=f"shop.{at}.T", file=f"shop/{at}.py") for n, at, name in tests]
    came = [
        replace(
            old, case=old.case + 1_000, class_name=f"my_{old.class_name}", file=f"my_{old.file}",
            name="keeps_all_it_holds" if old.case == 207 else old.name,
        )
        for old in gone
    ]  # fmt: skip

    assert pairs(gone, came) == [(n, n + 1_000) for n in range(300)]


def test_only_what_differs_in_nothing_is_paired_before_anything_else() -> None:
    # Identities changed under two classes that share all their names.
    gone = [one(n, name, class_name=at) for n, (at, name) in enumerate([("a", "x"), ("b", "x"), ("b", "y")])]
    came = [replace(old, case=old.case + 10) for old in gone]

    assert pairs(gone, came) == [(0, 10), (1, 11), (2, 12)]


def test_names_shared_by_classes_follow_their_class() -> None:
    gone = [one(n, name, class_name=f"{at}.T") for n, (at, name) in enumerate([("a", "x"), ("b", "x")])]
    gone += [one(2, "only_a", class_name="a.T"), one(3, "only_b", class_name="b.T")]
    came = [replace(old, case=old.case + 10, class_name=f"new_{old.class_name}") for old in gone]

    assert pairs(gone, came) == [(0, 10), (1, 11), (2, 12), (3, 13)]
    # Without a name of their own nobody knows which went where.
    assert pairs(gone[:2], came[:2]) == []


def test_a_name_repeated_in_the_class_is_no_place() -> None:
    gone, came = "cart adds items", "cart adds an item"

    assert pairs([one(1, gone, class_name=gone)], [one(2, came, class_name=came)]) == [(1, 2)]


def test_many_changed_names_are_compared_as_moves_only() -> None:
    gone = [one(n, f"step_{n}_alpha") for n in range(201)]
    came = [one(1_000 + n, f"step_{n}_alphas") for n in range(3)]

    assert twins_among(gone, came) == []
    assert len(twins_among(gone[:3], came)) == 3


def test_words_and_places_are_cut_where_people_cut_them() -> None:
    assert words_of("testPlacesOrder_2xHTTPRequest") == ["places", "order", "2", "x", "http", "request"]
    assert words_of("test") == ["test"]
    assert changed_part("shop/cart/test_a.py", "shop/basket/test_a.py") == ("shop/cart", "shop/basket")
    assert changed_part("a.B", "a.C") == ("a.B", "a.C")
    assert name_likeness("", "") == 1.0
