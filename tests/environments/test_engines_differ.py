"""One itdash for engines of five years: the version of the API, and what each can do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from docker.errors import APIError, NotFound

from environments.docker_engine import DockerEngine, answers, streams
from environments.docker_engine.capabilities import NEWEST_API, negotiated, network_features, without_unknown
from environments.docker_engine.errors import is_conflict
from environments.docker_engine.helper import HelperImage
from environments.docker_engine.networks import NETWORK
from environments.engine import EngineEventKind, Feature
from environments.errors import EnvironmentFailedError, FailureKind, ServiceNotFoundError
from environments.labels import EnvironmentRef
from environments.spec import HealthCheck
from tests.contract.conftest import HELPER
from tests.contract.services import service, spec_of
from tests.environments.other_engines import NAMES, OtherEngine, serving

REF = EnvironmentRef("itd-12345678-1", "test", "run:1", 1, 2_000_000_000)


@contextmanager
def speaking_to(
    name: str, folder: Path, helper: HelperImage | None = None
) -> Iterator[tuple[DockerEngine, OtherEngine]]:
    with serving(name, folder / "engine.sock") as other:
        engine = DockerEngine(f"unix://{folder}/engine.sock", helper_image=helper)
        yield engine, other
        engine.close()


def features(engine: DockerEngine) -> dict[str, Feature]:
    return {feature.name: feature for feature in engine.capabilities().features}


@pytest.mark.parametrize(
    ("name", "spoken", "title"),
    [
        ("20.10", "1.41", "Docker Engine 20.10.24+dfsg1, x86_64"),
        ("24", "1.43", "Docker Engine 24.0.7, aarch64"),
        ("24 rootless on cgroup v1", "1.43", "Docker Engine 24.0.7, x86_64"),
        ("27", "1.47", "Docker Engine 27.5.1, x86_64"),
        ("29", "1.52", "Docker Engine 29.0.1, x86_64"),
        ("newer than all that was read", "1.52", "Docker Engine 31.0.0, x86_64"),
        ("podman 4.3", "1.41", "Podman Engine 4.3.1, amd64"),
    ],
)
def test_the_newest_version_both_know_is_spoken(name: str, spoken: str, title: str, tmp_path: Path) -> None:
    with speaking_to(name, tmp_path) as (engine, other):
        found = features(engine)

        assert found["api"].text.startswith(f"{spoken} is spoken; ")
        assert found["engine"].text == title
        assert {path.split("/")[1] for _, path, _ in other.calls} == {"version", f"v{spoken}"}


def test_every_recorded_engine_is_looked_at() -> None:
    assert len(NAMES) == 7


@pytest.mark.parametrize(
    ("oldest", "newest", "why"),
    [
        ("1.12", "1.40", r"speaks API 1\.40; 1\.41 is needed \(Docker Engine 20\.10\)\. Update the engine"),
        ("1.60", "1.70", r"refuses API versions below 1\.60; this itdash speaks up to 1\.52\. Update itdash"),
        ("", "", r"speaks API 0; 1\.41 is needed"),
    ],
)
def test_engines_without_a_common_version_are_refused_with_the_mend(
    oldest: str, newest: str, why: str
) -> None:
    said = {"ApiVersion": newest, "MinAPIVersion": oldest, "Version": "1.0", "Components": None}

    with pytest.raises(EnvironmentFailedError, match=why) as refused:
        negotiated(said)

    assert refused.value.kind is FailureKind.ENGINE_UNAVAILABLE


def test_an_engine_that_has_raised_its_oldest_version_is_still_spoken_to() -> None:
    assert negotiated({"ApiVersion": "1.56", "MinAPIVersion": "1.52"}) == "1.52"
    assert negotiated({"ApiVersion": "1.41"}) == "1.41"
    assert NEWEST_API == (1, 52)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_sent_fits_the_engines_version(name: str, tmp_path: Path) -> None:
    check = HealthCheck(test=("CMD", "true"), interval_seconds=5, start_interval_seconds=0.5)
    spec = spec_of(
        service("one", cpus=1.5, healthcheck=check, networks={"back": (), "front": ("web",)}),
        networks={"back": False, "front": False},
    )
    with speaking_to(name, tmp_path) as (engine, other):
        other.networks = [{"Id": f"id-{key}", "Labels": {NETWORK: key}} for key in ("back", "front")]
        engine.create_service(REF, spec, spec.services["one"])
        body = next(
            sent for _, path, sent in other.calls if f"/containers/create?name={REF.name}-one" in path
        )
        joined = [path.rpartition("/networks/")[2] for _, path, _ in other.calls if path.endswith("/connect")]

    understands_more = name in {"27", "29", "newer than all that was read"}
    assert body["Healthcheck"]["Interval"] == 5_000_000_000
    assert body["Healthcheck"].get("StartInterval") == (500_000_000 if understands_more else None)
    ends = {"id-back", "id-front"} if understands_more else {"id-back"}
    assert set(body["NetworkingConfig"]["EndpointsConfig"]) == ends
    assert joined == ([] if understands_more else ["id-front/connect"])
    no_quota = name == "24 rootless on cgroup v1"
    assert body["HostConfig"]["NanoCpus"] == (0 if no_quota else 1_500_000_000)


def test_an_engine_says_what_it_can_and_cannot_do(tmp_path: Path) -> None:
    with speaking_to("29", tmp_path, HELPER) as (engine, _):
        known = engine.capabilities()
        found = features(engine)

    assert (known.engine, known.version, known.cpus, known.limits) == ("docker", "29.0.1", 4, {})
    assert found["start_interval"] == Feature("start_interval", is_there=True, text="sent to the engine")
    assert found["storage"].text == "overlayfs on io.containerd.snapshotter.v1"
    assert found["cgroup"].text == "v2, by systemd"
    assert (found["rootless"].is_there, found["swap accounting"].is_there) == (False, True)


def test_a_rootless_engine_without_control_groups_says_what_is_not_bounded(tmp_path: Path) -> None:
    with speaking_to("24 rootless on cgroup v1", tmp_path) as (engine, _):
        known = engine.capabilities()
        found = features(engine)

    assert known.limits.keys() == {"memory", "partition"}
    assert "ITDASH_FAULT_BASE_IMAGE" in known.limits["partition"]
    assert found["rootless"].is_there is True
    lacking = {name for name, feature in found.items() if "limits" in name and not feature.is_there}
    assert lacking == {"memory limits", "processor limits", "process limits"}
    assert found["start_interval"].text.startswith("takes API 1.44 (Docker Engine 25)")


def test_only_what_the_kernel_would_refuse_is_left_out() -> None:
    host = {"NanoCpus": 2_000_000_000, "Memory": 5}

    assert without_unknown(host, {"CpuCfsQuota": True}) == without_unknown(host, {}) == host
    assert without_unknown(host, {"CpuCfsQuota": False}) == {"NanoCpus": 0, "Memory": 5}


def test_what_a_helper_tried_is_read_from_what_it_said() -> None:
    said = "iptables yes\nnetem no\ntbf yes\nError: no such thing\nnofile 20000\n"

    assert {one.name: one.is_there for one in network_features(said)} == {
        "iptables": True,
        "netem": False,
        "tbf": True,
        "htb": False,
        "nofile": True,
    }


@pytest.mark.engine
def test_the_engine_here_is_tried_once_and_nothing_of_it_stays() -> None:
    engine = DockerEngine(helper_image=HELPER)
    first = engine.examined("tried")
    found = {feature.name: feature for feature in first.features}

    assert found["iptables"].is_there is True
    assert {"netem", "tbf", "htb", "nofile", "storage quota"} <= found.keys()
    assert engine.examined("tried") == first
    assert engine.environments("tried.trials") == []
    engine.close()

    without = DockerEngine(helper_image=HelperImage(base="itdash-lab/none:1"))
    told = {feature.name: feature for feature in without.examined("tried").features}
    assert "not tried" in told["helper"].text
    without.close()


@pytest.mark.engine
def test_the_helpers_image_is_built_from_the_base_that_is_named() -> None:
    """The base has the programs, so that building takes a moment and no network."""
    engine = DockerEngine(helper_image=HelperImage(base=HELPER.image))
    spec = spec_of(service("a"))
    ref = EnvironmentRef("itd-0f0f0f0f-1", "built", "run:1", 1, 2_000_000_000)
    try:
        engine.create_environment(ref, spec)
        first = engine._helper.image("built")
        assert first.startswith("itd-build:")
        assert engine._helper.image("built") == first
        assert engine._helper.is_there()
        assert engine._helper.run(ref, "iptables -V").exit_code == 0
    finally:
        assert engine.remove_environment(ref) == []
        engine.close()


# --- Podman's words for the same things, as it said them ---------------------------------------------


def said(status: int, text: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    kind = NotFound if status == 404 else APIError
    return kind("refused", response=response, explanation=text)


def test_podmans_refusals_are_understood() -> None:
    ended = said(500, "can only kill running containers. d481 is in state exited: container state improper")
    taken = said(500, 'the container name "itd-1-one" is already in use by 4444. You have to remove it')
    other = said(500, "runc: exec format error")

    assert (answers.is_so_already(ended), answers.is_so_already(other)) == (True, False)
    assert (is_conflict(taken), is_conflict(other), is_conflict(ended)) == (True, False, False)
    improper = "can only create exec sessions on running containers: container state improper"
    with pytest.raises(EnvironmentFailedError) as refused:
        answers.not_executed(said(500, improper), "one")
    assert refused.value.kind is FailureKind.SERVICE_EXITED
    with pytest.raises(ServiceNotFoundError):
        answers.not_executed(said(404, 'no container with name "x" found: no such container'), "one")


def test_podmans_events_are_understood() -> None:
    attributes = {"containerExitCode": "3", "itdash.service": "one", "name": "itd-1-one"}
    lines = [
        {"Action": action, "Actor": {"Attributes": attributes}, "timeNano": 1_795_262_400_000_000_000 + at}
        for at, action in enumerate(["died", "remove", "sync"])
    ]

    found = [event for _, event in streams.events(iter([f"{json.dumps(line)}\n".encode() for line in lines]))]

    assert [(event.kind, event.exit_code) for event in found] == [
        (EngineEventKind.DIED, 3),
        (EngineEventKind.REMOVED, None),
    ]
    assert {"died", "remove"} <= set(streams.EVENT_FILTER)
