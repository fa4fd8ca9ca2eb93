"""What pages say, and that strangers' text stays text."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from runs.models import Blame, CaseState, Project, Report, Result, Run, Suite, TestCase, Upload
from runs.vocabulary import Outcome, RunStatus, Trigger
from tests.factories import NOW, make_event, make_member, make_project, make_run, make_suite, make_user
from tests.rows import add_blame, add_delivery, add_environment, add_log, add_results

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\x1b[31mred\x1b[0m\u202egnp\x07"


def shop() -> Suite:
    return make_suite(
        make_project("shop", visibility="public", repository_url="https://git.example.org/s.git"),
        "checkout",
    )


def text_of(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer.status_code
    return " ".join(answer.content.decode().split())


def fill(suite: Suite, runs: int, **others: Outcome) -> Run:
    """Runs with results of every kind, each with an environment, a log and events."""
    for index in range(runs):
        run = make_run(
            suite, status=RunStatus.FAILED, queued_at=NOW + timedelta(minutes=index), started_at=NOW
        )
        add_results(
            run,
            {
                "test_create": Outcome.PASSED,
                "test_refund": Outcome.FAILED,
                "test_race": Outcome.FLAKY,
                "test_later": Outcome.SKIPPED,
                **others,
            },
        )
        add_blame(run.results.get(outcome=Outcome.FAILED), "postgres")
        add_environment(run, {"postgres": (0.1, 0.2, 1.0)}, ready_after=1.0)
        add_log(run, "postgres", "LOG ready")
        make_event(run)
        upload = Upload.objects.create(project=suite.project, run=run)
        Report.objects.create(
            run=run, upload=upload, name="junit.xml", size=10, sha256="0" * 64, storage_name="none"
        )
    return run


def addresses(run: Run) -> dict[str, str]:
    case = run.results.get(outcome=Outcome.FLAKY).case
    slug = run.project.slug
    failure = run.results.get(outcome=Outcome.FAILED).failure
    fingerprint = bytes(failure.fingerprint).hex() if failure else ""
    deliveries = [add_delivery(one) for one in run.project.runs.all()]
    return {
        "home": reverse("home"),
        "overview": reverse("overview", args=[slug]),
        "runs": reverse("runs", args=[slug]),
        "run": reverse("run", args=[slug, run.number]),
        "run all results": reverse("run", args=[slug, run.number]) + "?show=all",
        "run live": reverse("run-live", args=[slug, run.number]),
        "compare": reverse("compare", args=[slug]) + f"?base=1&head={run.number}",
        "failure group": reverse("failure-group", args=[slug, fingerprint]),
        "result": reverse("result", args=[slug, run.number, case.pk]),
        "test": reverse("test", args=[slug, case.pk]),
        "durations": reverse("durations", args=[slug]),
        "tests": reverse("tests", args=[slug]),
        "renames": reverse("renames", args=[slug]),
        "flaky": reverse("flaky", args=[slug]),
        "grid": reverse("grid", args=[slug]),
        "suites": reverse("suites", args=[slug]),
        "suite": reverse("suite", args=[slug, run.suite.name]),
        "services": reverse("services", args=[slug]),
        "service": reverse("service", args=[slug, run.project.services.get().name]),
        "environments": reverse("environments", args=[slug]),
        "environment": reverse("environment", args=[slug, f"itd-{run.pk:08x}-1"]),
        "environment live": reverse("environment-live", args=[slug, f"itd-{run.pk:08x}-1"]),
        "jump": reverse("jump", args=[slug]) + "?q=refund",
        "webhooks": reverse("webhooks", args=[slug]),
        "uploads": reverse("uploads", args=[slug]),
        "upload": reverse("upload", args=[slug, run.uploads.get().pk]),
        "settings": reverse("settings", args=[slug]),
        "audit": reverse("audit", args=[slug]),
        "account": reverse("account"),
        "delivery": reverse("delivery", args=[slug, deliveries[0].pk]),
        "badge": reverse("badge", args=[slug, run.suite.name]),
    }


def test_strangers_text_is_inert_and_readable_on_every_page(client: Client) -> None:
    suite = make_suite(make_project("shop", name=HOSTILE, visibility="public"), HOSTILE)
    run = make_run(
        suite,
        status=RunStatus.FAILED,
        branch=HOSTILE,
        commit_message=HOSTILE,
        commit_author=HOSTILE,
        ci_url="javascript:alert(1)",
    )
    results = add_results(run, {HOSTILE: Outcome.FAILED, "x" * 100_000: Outcome.FLAKY}, message=HOSTILE * 9)
    add_blame(results[0], HOSTILE, detail=HOSTILE)
    add_log(run, HOSTILE, HOSTILE, "y" * 1_000_000)
    make_event(run, message=HOSTILE, service=HOSTILE)
    add_environment(run, {HOSTILE: (0.1, 0.2, None)})
    Upload.objects.create(project=run.project, run=run, fields={HOSTILE[:50]: HOSTILE})
    pages = addresses(run) | {"failed test": reverse("test", args=["shop", results[0].case_id])}

    client.force_login(make_user(is_superuser=True))  # some are for members, or for whoever is signed in
    for name, address in pages.items():
        answer = client.get(address)
        page = answer.content.decode()
        assert answer.status_code in {200, 286}, name
        assert "<script>alert" not in page, name
        shown = re.sub(r' value="[^"]*"', "", page)  # a form sends back what it was given
        assert not {"\x1b", "\u202e", "\x07"} & set(shown), name
        assert "javascript:" not in page, name
        assert len(page) < 150_000, name
    page = client.get(pages["run"]).content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;red\\u202egnp\\x07" in page
    assert "more characters not shown" in page


def test_the_overview_says_since_when_the_default_branch_is_red(client: Client) -> None:
    suite = shop()
    for status in (RunStatus.PASSED, RunStatus.FAILED, RunStatus.FAILED):
        make_run(suite, status=status)
    make_run(make_suite(suite.project, "messaging"), status=RunStatus.PASSED)
    make_run(suite, status=RunStatus.PASSED, branch="feat/fix")

    page = text_of(client, "/p/shop/")

    assert "main</bdi> is red." in page
    assert 'has failed 2 runs in a row since <a href="/p/shop/runs/2/">#2' in page
    assert "1 suite is green." in page


def test_an_errored_run_neither_turns_the_branch_red_nor_hides_that_it_is_green(client: Client) -> None:
    suite = shop()
    make_run(suite, status=RunStatus.PASSED)
    make_run(suite, status=RunStatus.ERRORED)

    page = text_of(client, "/p/shop/")

    assert "main</bdi> is green." in page
    assert "Errored" in page


def test_a_project_without_runs_shows_how_to_begin(client: Client) -> None:
    shop()

    answer = client.get("/p/shop/")

    assert answer["Location"] == "/p/shop/start/"
    page = text_of(client, "/p/shop/start/")
    assert "http://testserver/api/v1/projects/shop/uploads" in page
    assert "Waiting for the first run" in page


def test_the_waiting_page_moves_on_with_the_first_run(client: Client) -> None:
    suite = shop()
    assert "HX-Redirect" not in client.get("/p/shop/start/waiting/")

    make_run(suite)

    assert client.get("/p/shop/start/waiting/")["HX-Redirect"] == "/p/shop/runs/1/"


def test_the_run_list_is_filtered_by_its_address(client: Client) -> None:
    suite = shop()
    make_run(suite, status=RunStatus.PASSED, branch="main", commit="abc1234" + "0" * 33)
    make_run(suite, status=RunStatus.FAILED, branch="feat/x", trigger=Trigger.PUSH)
    make_run(make_suite(suite.project, "messaging"), status=RunStatus.RUNNING)

    def shown(query: str) -> list[int]:
        page = client.get(f"/p/shop/runs/?{query}").context["page"]
        return [row.run.number for row in page.rows]

    assert shown("") == [3, 2, 1]
    assert shown("status=failed") == [2]
    assert shown("status=live") == [3]
    assert shown("suite=messaging") == [3]
    assert shown("branch=feat/x") == [2]
    assert shown("trigger=push") == [2]
    assert shown("q=abc12") == [1]
    assert shown("q=%232") == [2]
    assert shown("q=nothing") == []
    assert shown("before=99999999999999999999&q=%00") == [3, 2, 1]
    assert shown("status=<script>") == []


def test_the_run_list_is_walked_by_pages_in_both_directions(client: Client) -> None:
    suite = shop()
    for _ in range(120):
        make_run(suite, number=_ + 1)

    def page(query: str) -> tuple[int, int, str, str]:
        found = client.get(f"/p/shop/runs/{query}").context["page"]
        return found.rows[0].run.number, found.rows[-1].run.number, found.newer, found.older

    assert page("") == (120, 71, "", "?before=71")
    assert page("?before=71") == (70, 21, "?after=70", "?before=21")
    assert page("?before=21") == (20, 1, "?after=20", "")
    assert page("?after=20") == (70, 21, "?after=70", "?before=21")
    assert page("?after=70") == (120, 71, "", "?before=71")


def test_a_script_gets_the_list_alone_and_a_cache_is_told(client: Client) -> None:
    make_run(shop())

    answer = client.get("/p/shop/runs/", headers={"HX-Request": "true"})

    assert "HX-Request" in answer["Vary"]
    assert b"<html" not in answer.content
    assert answer.content.strip().startswith(b'<div id="runs"')


def test_a_failed_run_groups_its_failures(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.FAILED)
    add_results(run, {"test_a": Outcome.FAILED, "test_b": Outcome.ERRORED, "test_c": Outcome.PASSED})

    page = text_of(client, "/p/shop/runs/1/")

    assert "2 of 3 tests failed</strong> in 1 group." in page
    assert "2 tests</span>" in page
    assert "expected 201, got 503" in page


def test_a_failure_of_a_test_that_is_known_to_be_flaky_says_so(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.FAILED)
    add_results(run, {"test_refund": Outcome.FAILED, "test_pay": Outcome.FAILED})
    refund = TestCase.objects.get(name="test_refund")
    CaseState.objects.create(case=refund, flakiness="likely_flaky", changed_at=NOW, judged_at=NOW)

    text = text_of(client, run.get_absolute_url())

    assert text.count("Likely flaky") == 1
    assert text.index("test_refund") < text.index("Likely flaky")


def test_an_errored_run_says_that_the_environment_failed_and_shows_the_evidence(client: Client) -> None:
    message = "postgres never became ready\nlast log: no space"
    make_run(shop(), status=RunStatus.ERRORED, error_message=message)

    page = text_of(client, "/p/shop/runs/1/")

    assert "The environment failed, not the tests.</strong> <bdi>postgres never became ready</bdi>" in page
    assert "last log: no space" in page


def test_results_of_any_number_are_read_in_pages(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.PASSED)
    add_results(run, {f"test_{number}": Outcome.PASSED for number in range(150)})

    first = client.get("/p/shop/runs/1/?show=all").context["page"].results
    second = client.get(f"/p/shop/runs/1/{first.more}").context["page"].results

    assert len(first.rows) == 100
    assert [row.case.name for row in second.rows] == [f"test_{number}" for number in range(100, 150)]
    assert second.more == ""


def test_a_tests_history_shows_the_default_branch_first_and_any_other_when_asked(client: Client) -> None:
    suite = shop()
    add_results(make_run(suite, status=RunStatus.PASSED), {"test_a": Outcome.PASSED})
    results = add_results(
        make_run(suite, status=RunStatus.FAILED, branch="feat/x", queued_at=NOW + timedelta(hours=1)),
        {"test_a": Outcome.FAILED},
    )
    address = f"/p/shop/tests/{results[0].case_id}/"

    assert client.get(address).context["page"].marks == "p"
    assert client.get(f"{address}?branch=feat/x").context["page"].marks == "f"
    assert client.get(f"{address}?branch=").context["page"].marks == "pf"


def test_a_member_starts_a_run_of_a_suite_on_a_ref(client: Client) -> None:
    suite = shop()
    client.force_login(make_member(suite.project))

    answer = client.post("/p/shop/runs/new/", {"suite": "checkout", "ref": "feat/x"})

    run = Run.objects.get()
    assert answer["Location"] == "/p/shop/runs/1/"
    assert (run.ref, run.branch, run.trigger, run.status) == ("feat/x", "feat/x", "person", "queued")


def test_a_project_that_cannot_be_is_refused_beside_the_field(client: Client) -> None:
    make_project("taken")
    client.force_login(make_user())
    values = {"default_branch": "main"}

    taken = client.post("/projects/new/", values | {"slug": "taken"})
    wrong = client.post("/projects/new/", values | {"slug": "Not A Slug"})

    assert b"exists already" in taken.content
    assert b"lower-case letters" in wrong.content
    assert Project.objects.count() == 1


def test_cancelling_what_is_finished_says_so_and_changes_nothing(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.PASSED)
    client.force_login(make_user(is_superuser=True))

    page = client.post("/p/shop/runs/1/cancel/", follow=True).content.decode()

    assert "there is nothing to cancel" in page
    run.refresh_from_db()
    assert run.status == RunStatus.PASSED


def test_pages_carry_the_content_policy_and_no_inline_style_or_script(client: Client) -> None:
    run = fill(shop(), 1)

    for name, address in addresses(run).items():
        answer = client.get(address)
        page = answer.content.decode()
        assert "style=" not in page, name
        assert "<style" not in page, name
        assert all("src=" in tag for tag in page.split("<script")[1:]), name
        if name != "run live":
            assert "default-src 'none'" in answer["Content-Security-Policy"], name


def test_a_green_run_opens_on_all_its_results_with_parameters_and_place(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.PASSED)
    add_results(run, {"test_pay": Outcome.PASSED})
    run.suite.cases.update(parameters="[eur-3]", class_name="tests.test_payments")

    page = text_of(client, "/p/shop/runs/1/")

    assert "test_pay[eur-3]" in page
    assert "tests.test_payments" in page


def test_a_failed_environment_shows_what_was_seen_of_its_services(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.ERRORED)
    evidence = {
        "service": "postgres",
        "summary": "exited with 1",
        "probe_outputs": ["connection refused"],
        "log_tail": ["FATAL: could not map anonymous shared memory"],
    }
    make_event(run, "environment_failed", message="postgres ended", data={"evidence": [evidence]})

    page = text_of(client, "/p/shop/runs/1/")

    assert "<bdi>postgres</bdi>: <bdi>exited with 1</bdi>" in page
    assert "connection refused" in page
    assert "could not map anonymous shared memory" in page


def test_an_environment_is_drawn_while_it_comes_up(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.PREPARING, queued_at=NOW, started_at=NOW)
    add_environment(run, {"postgres": (0.1, 0.2, 1.0), "order-service": (0.2, 1.1, None)})

    (boot,) = client.get("/p/shop/runs/1/").context["page"].boots

    assert [(lane.service.name, lane.words) for lane in boot.lanes] == [
        ("postgres", "1.0 s"),
        ("order-service", "starting"),
    ]
    # pull until 0.1 s, wait until 0.2 s, start until 1 s, and up from then on.
    assert [kind for kind, _, _ in boot.lanes[0].segments] == ["pull", "wait", "start", "up"]
    assert boot.lanes[0].segments[2] == ("start", 0.2, 1.0)


def test_a_failure_group_says_which_service_it_blames_and_on_what_evidence(client: Client) -> None:
    run = make_run(shop(), status=RunStatus.FAILED)
    results = add_results(run, {"test_a": Outcome.FAILED, "test_b": Outcome.FAILED}, message=HOSTILE)
    address = reverse("run", args=["shop", run.number])
    assert "lames" not in text_of(client, address).replace("class=", "")

    for result, services in zip(results, [["users" + HOSTILE], []], strict=True):
        Blame.objects.create(
            project=run.project,
            run=run,
            case=result.case,
            run_at=run.run_at,
            services=services,
            suspects=[
                {
                    "service": name,
                    "rank": 1,
                    "strength": "strong",
                    "evidence": [
                        {
                            "kind": "died",
                            "strength": "strong",
                            "detail": f"died, exit code 137 {HOSTILE}",
                            "at": "2026-11-21T08:00:30.250000+00:00",
                        }
                    ],
                }
                for name in services
            ],
            ruled_out=[{"service": "orders", "reasons": ["up and well throughout", "not named"]}],
            unwatched=["ledger"],
        )

    page = text_of(client, address)
    assert (
        "<strong><bdi>users&lt;script&gt;alert(1)&lt;/script&gt;red\\u202egnp\\x07</bdi></strong> for 1 of 2"
        in page
    )
    assert ", strong evidence" in page
    assert "died, exit code 137 &lt;script&gt;" in page
    assert "08:00:30.250" in page
    assert "</bdi>: up and well throughout, not named" in page
    assert "ledger</bdi>: neither events nor logs of them are known" in page
    assert "\u202e" not in page
    Blame.objects.update(services=[], suspects=[])
    assert "No service blamed: all that were watched were well, and none is named" in text_of(client, address)
    Blame.objects.update(ruled_out=[])
    assert "No service blamed: none is named, and nobody watched them" in text_of(client, address)


def test_a_run_is_pinned_and_unpinned_on_its_page(client: Client) -> None:
    suite = shop()
    run = make_run(suite, status=RunStatus.PASSED)
    client.force_login(make_member(suite.project, username="ann"))
    page = run.get_absolute_url()

    client.post(f"{page}pin/")
    text = text_of(client, page)
    assert "Pinned by <bdi>ann</bdi>" in text
    assert f'action="{page}unpin/"' in text

    client.post(f"{page}unpin/")
    text = text_of(client, page)
    assert "Pinned" not in text
    assert f'action="{page}pin/"' in text


def test_a_run_whose_results_and_files_are_gone_says_so(client: Client) -> None:
    run = fill(shop(), 2)
    kept = Report.objects.create(run=run, name="kept.xml", size=10, sha256="1", storage_name="kept.xml")
    gone = Report.objects.create(run=run, name="gone.xml", size=2048, sha256="2", storage_name="")
    Result.objects.filter(run_at=run.run_at, run=run.pk).delete()
    Run.objects.filter(pk=run.pk).update(results_removed_at=NOW)

    text = text_of(client, run.get_absolute_url())

    assert "The results of this run are gone since" in text
    assert "<p>The results are not kept any more.</p>" in text
    assert f"{run.test_count} test" in text
    assert "Against #" not in text
    assert f"files/report/{kept.pk}/" in text
    assert '<bdi>gone.xml</bdi> <span class="muted">2.0 KB, no longer kept</span>' in text
    assert client.get(f"{run.get_absolute_url()}files/report/{gone.pk}/").status_code == 404
    compare = text_of(client, f"/p/shop/compare/?base=1&head={run.number}")
    assert f"The results of run #{run.number} are not kept any more." in compare
