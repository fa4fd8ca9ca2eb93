"""What was sent, as people see it: what was lost of it, why, and how much there is."""

from __future__ import annotations

import pytest
from django.test import Client

from runs.models import Report, Upload
from runs.queries.uploads import LISTED_ROWS, rows_shown
from runs.vocabulary import Role
from tests.factories import NOW, make_member, make_project, make_run, make_suite

pytestmark = pytest.mark.django_db


def test_a_long_table_is_folded_and_in_the_end_counted() -> None:
    forty, many = rows_shown(range(40)), rows_shown(range(LISTED_ROWS + 5))

    assert (len(forty.open), len(forty.folded), forty.left_count) == (40, 0, 0)
    assert (len(many.open), len(many.folded), many.left_count) == (30, 970, 5)


def test_the_list_says_what_was_lost_and_why(client: Client) -> None:
    project = make_project("shop")
    run = make_run(make_suite(project, "checkout"))
    problems = [{"file": "a.xml", "line": 3, "reason": "Not well-formed XML: a fault."}] * 1_200
    lost = Upload.objects.create(
        project=project, run=run, status="partial", problems=problems, received_at=NOW, stored_at=NOW
    )
    Report.objects.create(
        run=run, upload=lost, name="a.xml", status="partial", size=9, sha256="a" * 64, case_count=52_345
    )
    whole = Upload.objects.create(project=project, run=run, status="stored", received_at=NOW, stored_at=NOW)
    Report.objects.create(run=run, upload=whole, name="b.xml", status="stored", size=9, sha256="b" * 64)
    client.force_login(make_member(project, Role.MEMBER))

    listed = " ".join(client.get("/p/shop/uploads/").content.decode().split())
    page = " ".join(client.get(f"/p/shop/uploads/{lost.pk}/").content.decode().split())
    empty = " ".join(client.get(f"/p/shop/uploads/{whole.pk}/").content.decode().split())

    assert 'Of these 2 uploads, <strong class="warn">1 was read in part</strong>.' in listed
    assert "1,200 problems" in listed
    assert listed.count("Not well-formed XML: a fault.") == 1
    assert "52,345 test cases in 1 file. 1,200 problems say what is missing, and why." in page
    assert "200 more are not shown" in page
    assert "No test case is in it." in empty
