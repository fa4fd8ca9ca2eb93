"""Addresses of rows are those that Django would tell."""

from __future__ import annotations

import pytest
from django.urls import NoReverseMatch, reverse, set_script_prefix

from runs.queries.addresses import address

# The first number is one that the addresses are taken apart by.
NUMBERED_SLUG = "987654321000000001"


@pytest.mark.parametrize("slug", ["shop", "a-b_c", "0", NUMBERED_SLUG])
def test_a_row_is_addressed_as_django_addresses_it(slug: str) -> None:
    assert address("run", slug, 7) == reverse("run", args=[slug, 7]) == f"/p/{slug}/runs/7/"
    assert address("test", slug, 12345678901) == f"/p/{slug}/tests/12345678901/"
    assert address("result", slug, 7, 9) == reverse("result", args=[slug, 7, 9])


def test_an_address_follows_where_the_site_is_mounted() -> None:
    before = address("run", "shop", 7)
    set_script_prefix("/below/")
    try:
        assert address("run", "shop", 7) == "/below/p/shop/runs/7/"
    finally:
        set_script_prefix("/")
    assert address("run", "shop", 7) == before


def test_what_has_no_address_is_said_as_django_says_it() -> None:
    with pytest.raises(NoReverseMatch):
        address("run", "no/slug", 7)
