"""What a project's environments may ask for, granted by the installation's administrator in its settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from environments.errors import PolicyError
from environments.grants import GRANTS, Quota
from runs.actions.errors import InvalidValueError
from runs.actions.policy import change_policy, quota_of
from runs.execution.plans import Allowance, plan_shards
from runs.models import AuditEntry, Membership, Project, User
from runs.suitefile import read_suite_file
from runs.vocabulary import Role
from tests.factories import make_project, make_user

pytestmark = pytest.mark.django_db
ADDRESS = "/p/shop/settings/policy/"


@pytest.fixture
def project() -> Project:
    return make_project("shop")


@pytest.fixture
def owner(client: Client) -> User:
    user = make_user("owner", is_superuser=True)
    client.force_login(user)
    return user


@pytest.fixture
def admin(project: Project) -> User:
    user = make_user("ada")
    Membership.objects.create(project=project, user=user, role=Role.ADMIN)
    return user


def kept(project: Project) -> tuple[list[str], dict[str, float]]:
    project.refresh_from_db()
    return project.policy_grants, project.policy_quota


def test_the_installations_administrator_grants_and_sets_the_quota(
    client: Client, project: Project, owner: User
) -> None:
    form = {"grants": ["devices", "cap_add.SYS_PTRACE"], "services": "12", "memory_bytes": "1.5", "cpus": ""}

    answer = client.post(ADDRESS, form)

    assert answer.status_code == 302
    assert kept(project) == (["cap_add.SYS_PTRACE", "devices"], {"services": 12, "memory_bytes": 3 * 2**29})
    assert quota_of(project) == Quota(services=12, memory_bytes=3 * 2**29)
    entry = AuditEntry.objects.get(action="policy.changed")
    assert (entry.user, entry.data["quota"]) == (owner, [[], ["memory bytes 1.61061e+09", "services 12"]])
    page = client.get("/p/shop/settings/").content.decode()
    assert page.count("checked") >= 2
    assert 'name="memory_bytes" inputmode="decimal" value="1.5"' in page


def test_every_grant_is_on_the_page_in_words(client: Client, project: Project, owner: User) -> None:
    page = client.get(f"/p/{project.slug}/settings/").content.decode()

    assert owner.is_superuser
    assert all(f'value="{name}"' in page for name in GRANTS)


def test_a_projects_administrator_takes_back_and_grants_nothing(
    client: Client, project: Project, admin: User
) -> None:
    Project.objects.update(policy_grants=["devices", "gpus"], policy_quota={"services": 12})
    client.force_login(admin)

    refused = client.post(ADDRESS, {"grants": ["devices", "gpus", "privileged"], "services": "12"})
    assert refused.status_code == 422
    assert "Only the installation&#x27;s administrator" in refused.content.decode()
    assert client.post(ADDRESS, {"grants": ["devices"], "services": "13"}).status_code == 422
    assert kept(project) == (["devices", "gpus"], {"services": 12})

    assert client.post(ADDRESS, {"grants": ["devices"], "services": "12"}).status_code == 302
    assert kept(project) == (["devices"], {"services": 12})


@pytest.mark.parametrize(
    "form",
    [
        {"grants": ["root"]},
        {"services": "0"},
        {"services": "-1"},
        {"services": "201"},
        {"services": "many"},
        {"memory_bytes": "nan"},
        {"memory_bytes": "inf"},
        {"memory_bytes": "2000"},
        {"cpus": "0"},
        {"cpus": "1e9"},
    ],
)
def test_what_cannot_be_is_refused_with_what_was_typed(
    client: Client, project: Project, owner: User, form: dict[str, object]
) -> None:
    answer = client.post(ADDRESS, form)

    assert answer.status_code == 422
    page = answer.content.decode()
    assert "aria-invalid" in page or "grants" in form
    assert "[&#x27;" not in page
    assert kept(project) == ([], {})
    assert not AuditEntry.objects.filter(user=owner).exists()


def test_a_grant_that_is_not_there_is_refused_by_the_action_too(project: Project, owner: User) -> None:
    with pytest.raises(InvalidValueError, match="There is no grant “root”"):
        change_policy(project_id=project.pk, grants=["root"], quota={}, by=owner)
    with pytest.raises(InvalidValueError):
        change_policy(project_id=project.pk, grants=[], quota={"containers": 9}, by=owner)


def test_a_run_goes_by_its_projects_grants_and_quota(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        "services:\n  tests: {image: t, privileged: true}\n  db: {image: d}\n"
    )
    text = "version: 1\nsuites:\n  api: {compose: compose.yaml, tests: tests}\n"
    (tmp_path / "itdash.yml").write_text(text)
    suite = read_suite_file(text).suites["api"]
    allowance = Allowance(frozenset({"privileged"}))

    with pytest.raises(PolicyError, match="An administrator can allow it with the grant `privileged`"):
        plan_shards(suite, tmp_path, run_id=1, variables={})
    [plan] = plan_shards(suite, tmp_path, run_id=1, variables={}, allowance=allowance)
    assert plan.spec.grants == {"privileged"}
    with pytest.raises(PolicyError, match="2 services are more than the 1"):
        plan_shards(
            suite, tmp_path, run_id=1, variables={}, allowance=replace(allowance, quota=Quota(services=1))
        )


def test_tests_that_may_take_too_long_are_refused_before_they_start(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services:\n  tests: {image: t}\n")
    text = "version: 1\nsuites:\n  api:\n    compose: compose.yaml\n    tests: tests\n    timeout: 121m\n"
    (tmp_path / "itdash.yml").write_text(text)
    suite = read_suite_file(text).suites["api"]

    with pytest.raises(PolicyError) as caught:
        plan_shards(suite, tmp_path, run_id=1, variables={})

    assert str(caught.value) == (
        "itdash.yml:6: suites.api.timeout: 121 min is more than the 120 min that the tests of one environment"
        " may take. Cut the suite into `shards`, or have an administrator raise the project's quota."
    )
    allowance = Allowance(quota=Quota(seconds=8000))
    [plan] = plan_shards(suite, tmp_path, run_id=1, variables={}, allowance=allowance)
    assert plan.quota.seconds == 8000


def test_every_number_of_the_quota_and_the_images_places_are_kept_and_shown(
    client: Client, project: Project, owner: User
) -> None:
    numbers = {
        "services": "30",
        "networks": "6",
        "volumes": "11",
        "memory_bytes": "8",
        "cpus": "2.5",
        "seconds": "90",
    }

    answer = client.post(ADDRESS, numbers | {"images": "docker.io/library\r\n\r\n ghcr.io/acme "})

    assert answer.status_code == 302
    assert quota_of(Project.objects.get()) == Quota(
        services=30,
        networks=6,
        volumes=11,
        memory_bytes=8 * 2**30,
        cpus=2.5,
        seconds=5400,
        images=("docker.io/library", "ghcr.io/acme"),
    )
    page = client.get("/p/shop/settings/").content.decode()
    assert all(
        f'id="id_{name}" name="{name}" inputmode="decimal" value="{value}"' in page
        for name, value in numbers.items()
    )
    assert "docker.io/library\nghcr.io/acme</textarea>" in page
    entry = AuditEntry.objects.get(action="policy.changed")
    assert "images docker.io/library, ghcr.io/acme" in entry.data["quota"][1]


def test_a_place_of_images_that_names_no_registry_is_refused(
    client: Client, project: Project, owner: User
) -> None:
    answer = client.post(ADDRESS, {"images": "ghcr.io/acme\nlibrary"})

    assert answer.status_code == 422
    assert "“library” names no registry" in answer.content.decode()
    assert kept(project) == ([], {})


def test_the_installations_list_of_places_holds_until_a_project_has_its_own(
    project: Project, settings: Settings
) -> None:
    settings.IMAGES = ("docker.io/library",)

    assert quota_of(project).images == ("docker.io/library",)
    project.policy_quota = {"images": ["ghcr.io/acme"]}
    assert quota_of(project).images == ("ghcr.io/acme",)


def test_members_read_what_differs_from_everyones(client: Client, project: Project) -> None:
    Project.objects.update(policy_quota={"memory_bytes": 2**33, "images": ["ghcr.io/acme"]})
    user = make_user("vera")
    Membership.objects.create(project=project, user=user, role=Role.VIEWER)
    client.force_login(user)

    page = client.get("/p/shop/settings/").content.decode()

    assert "<dt>Memory, GiB</dt><dd>8</dd><dt>Images of</dt><dd>ghcr.io/acme</dd>" in page
