"""All that the fixtures under `attacks/` try is refused: on the model, and on what the engine would get.

Each is told with file, line, key, the reason, and the grant that would allow it if there is one.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from environments import policy
from environments.docker_engine import last_check, payload
from environments.errors import EnvironmentFailedError, PolicyError, SpecError
from environments.grants import GRANTS, Quota
from environments.labels import EnvironmentRef
from environments.presets import filled
from environments.spec import EnvironmentSpec, load_environment
from tests.environments.checkout import Checkout

REF = EnvironmentRef("itd-12345678-1", "test", "run:1", 1, 2_000_000_000)
ATTACKS: Final = Path(__file__).with_name("attacks")
#: Lines before what a service asks; it stands in the fifth.
SERVICE: Final = "services:\n  db: {image: db}\n  web:\n    image: web\n"


def attacks(*names: str, is_granted: bool | None = None) -> list[Any]:
    """The fixtures of those files; only those with a grant that would allow them, or only those without."""
    return [
        pytest.param(attack, id=attack["attack"])
        for name in names
        for attack in yaml.safe_load((ATTACKS / f"{name}.yaml").read_text())
        if is_granted is None or is_granted == ("grant" in attack)
    ]


def spec_of(checkout: Checkout, attack: dict[str, Any]) -> EnvironmentSpec:
    (checkout.folder / "link").symlink_to("/etc")
    asks = attack["asks"]
    if asks.startswith(("networks:", "volumes:\n")):
        named = "" if asks.startswith("volumes") else "volumes: {data: }\n"
        return checkout.load(f"{SERVICE}    volumes: ['data:/x']\n{asks}\n{named}")
    return checkout.load(f"{SERVICE}    {asks}\n")


def refusal_of(spec: EnvironmentSpec) -> str:
    with pytest.raises(PolicyError) as caught:
        policy.check(spec)
    [problem] = caught.value.problems
    return str(problem)


def is_as_told(told: str, attack: dict[str, Any], start: str) -> bool:
    grant = attack.get("grant")
    offer = f"An administrator can allow it with the grant `{grant}`."
    return (
        told.startswith(f"{start} is not granted")
        and attack["because"] in told
        and (offer in told if grant else "with the grant" not in told)
    )


@pytest.mark.parametrize("attack", attacks("services", "namespaces", "mounts", "builds"))
def test_a_service_is_refused_what_reaches_beyond_it(checkout: Checkout, attack: dict[str, Any]) -> None:
    told = refusal_of(spec_of(checkout, attack))

    assert is_as_told(told, attack, f"compose.yaml:5: services.web.{attack['key']}"), told


@pytest.mark.parametrize("attack", attacks("resources"))
def test_networks_and_volumes_are_refused_what_is_shared(checkout: Checkout, attack: dict[str, Any]) -> None:
    told = refusal_of(spec_of(checkout, attack))

    assert is_as_told(told, attack, f"compose.yaml:7: {attack['key']}"), told


@pytest.mark.parametrize("attack", attacks("composition"))
def test_what_is_spread_over_files_is_refused_where_it_stands(
    checkout: Checkout, attack: dict[str, Any]
) -> None:
    for name, text in attack["files"].items():
        checkout.write(name, text)
    spec = checkout.load_files(next(iter(attack["files"])), *attack.get("with", ()))

    assert is_as_told(told := refusal_of(spec), attack, f"{attack['at']}: {attack['key']}"), told


@pytest.mark.parametrize("attack", attacks("images"))
def test_images_from_elsewhere_are_refused_where_a_list_says_from_where(
    checkout: Checkout, attack: dict[str, Any]
) -> None:
    (checkout.folder / "Dockerfile").write_text("FROM debian AS base\nFROM evil/base\nCOPY --from=base / /\n")
    asks = attack["asks"].replace("$", "$$")
    spec = filled(checkout.load(f"services:\n  db: {{image: postgres}}\n  web:\n    {asks}\n"))
    policy.check(spec)

    with pytest.raises(PolicyError) as caught:
        policy.check(spec, Quota(images=("docker.io/library", "ghcr.io/acme")))

    [problem] = caught.value.problems
    start = f"compose.yaml:4: services.web.{attack['key']}: the image {attack['image']}"
    assert str(problem).startswith(start)
    assert " is not of docker.io/library, ghcr.io/acme. Use one that is, or have" in str(problem)


def test_there_are_more_than_a_hundred_attacks() -> None:
    count = sum(len(yaml.safe_load(path.read_text())) for path in ATTACKS.glob("*.yaml"))

    print(f"attacks: {count}")  # noqa: T201 - the figure is what the test is for
    assert count > 100


# --- grants ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", attacks("services", "namespaces", is_granted=True))
def test_a_grant_allows_what_it_names_and_nothing_else(checkout: Checkout, attack: dict[str, Any]) -> None:
    spec = spec_of(checkout, attack)
    others = frozenset(GRANTS) - {attack["grant"]}

    policy.check(replace(spec, grants=frozenset({attack["grant"]})))
    assert refusal_of(replace(spec, grants=others))


@pytest.mark.parametrize("attack", attacks("services", is_granted=False))
def test_no_grant_allows_the_rest(checkout: Checkout, attack: dict[str, Any]) -> None:
    assert refusal_of(replace(spec_of(checkout, attack), grants=frozenset(GRANTS)))


def test_a_file_cannot_grant_itself_anything(checkout: Checkout) -> None:
    spec = checkout.load(f"x-itdash: {{grants: [privileged]}}\n{SERVICE}    privileged: true\n")

    assert spec.grants == frozenset()
    assert "not granted" in refusal_of(spec)


# --- the last look at what is sent -----------------------------------------------------------------------


def sent(spec: EnvironmentSpec, grants: frozenset[str] = frozenset()) -> dict[str, Any]:
    """The body of the call that creates the service, made without asking policy."""
    service = spec.services["web"]
    config = payload.container_config(
        REF,
        service,
        image="web",
        networks={"default": "n1"},
        copied_folders=frozenset(mount.source for mount in service.mounts if mount.source),
        api=(1, 41),
        cpus=2,
        limits=payload.Limits(),
    )
    config["HostConfig"] |= payload.granted(service, grants)
    return config


def look(spec: EnvironmentSpec, config: dict[str, Any], grants: frozenset[str] = frozenset()) -> None:
    last_check.refuse_danger(config, REF, spec.services["web"], networks={"default": "n1"}, grants=grants)


@pytest.mark.parametrize("attack", attacks("services", "namespaces", "mounts"))
def test_nothing_dangerous_is_sent_even_when_policy_slept(checkout: Checkout, attack: dict[str, Any]) -> None:
    """Whatever policy would have missed: it is not sent, or the last look refuses it."""
    spec = spec_of(checkout, attack)
    config = sent(spec)
    try:
        look(spec, config)
    except EnvironmentFailedError:
        return
    host = config["HostConfig"]
    assert not host.keys() & {
        "Privileged",
        "Devices",
        "DeviceCgroupRules",
        "DeviceRequests",
        "Binds",
        "PidMode",
    }
    assert not host.keys() & {"CgroupParent", "Runtime", "IpcMode", "UTSMode", "UsernsMode", "VolumesFrom"}
    assert host["NetworkMode"] in {"n1", "none"}
    assert all(mount["Type"] == "volume" for mount in host["Mounts"])
    assert host["SecurityOpt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Privileged", True),
        ("Binds", ["/:/host"]),
        ("Mounts", [{"Type": "bind", "Source": "/", "Target": "/x", "ReadOnly": True}]),
        ("Mounts", [{"Type": "volume", "Source": "postgres_prod", "Target": "/x"}]),
        (
            "Mounts",
            [{"Type": "volume", "Target": "/x", "VolumeOptions": {"DriverConfig": {}}}],
        ),
        ("Mounts", [{"Type": "npipe", "Source": "x", "Target": "/x"}]),
        ("NetworkMode", "host"),
        ("NetworkMode", "bridge"),
        ("NetworkMode", "container:other"),
        ("NetworkMode", "container:itd-99999999-1-db"),
        ("PidMode", "host"),
        ("PidMode", "container:itd-99999999-1-db"),
        ("IpcMode", "container:other"),
        ("VolumesFrom", ["itd-12345678-1-db", "itd-99999999-1-db"]),
        ("PortBindings", {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}),
        ("PortBindings", {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "22"}]}),
        ("Dns", ["169.254.169.254"]),
        ("Tmpfs", {"/x": "size=8m,suid"}),
        ("IpcMode", "host"),
        ("UTSMode", "host"),
        ("UsernsMode", "host"),
        ("CgroupnsMode", "host"),
        ("CgroupParent", "/"),
        ("Runtime", "other"),
        ("Devices", [{"PathOnHost": "/dev/sda"}]),
        ("DeviceCgroupRules", ["a *:* rwm"]),
        ("DeviceRequests", [{"Count": -1}]),
        ("CapAdd", ["SYS_ADMIN"]),
        ("CapAdd", ["ALL"]),
        ("SecurityOpt", []),
        ("SecurityOpt", ["no-new-privileges:true", "seccomp=unconfined"]),
        ("Sysctls", {"kernel.shmmax": "1"}),
        ("ExtraHosts", ["me:host-gateway"]),
        ("PortBindings", {"80/tcp": [{"HostPort": "80"}]}),
        ("PublishAllPorts", True),
        ("LogConfig", {"Type": "syslog", "Config": {"syslog-address": "udp://10.0.0.1"}}),
        ("LogConfig", {"Type": "json-file", "Config": {}}),
        ("OomKillDisable", True),
        ("OomScoreAdj", -1000),
        ("Memory", 0),
        ("MemorySwap", -1),
        ("PidsLimit", -1),
        ("RestartPolicy", {"Name": "for-ever"}),
        ("VolumesFrom", ["other"]),
        ("Links", ["other"]),
        ("Dns", ["10.0.0.1"]),
        ("MaskedPaths", ["/x"]),
        ("StorageOpt", {"size": "1t"}),
        ("AKeyOfTomorrow", "x"),
    ],
)
def test_the_last_look_knows_what_may_be_sent(checkout: Checkout, key: str, value: object) -> None:
    spec = checkout.load(f"{SERVICE}    tty: true\n")
    config = sent(spec)
    look(spec, config)
    config["HostConfig"][key] = value

    with pytest.raises(EnvironmentFailedError, match=rf"Service 'web' was not created: HostConfig\.{key} "):
        look(spec, config)


def test_the_last_look_covers_what_surrounds_the_host_s_part(checkout: Checkout) -> None:
    spec = checkout.load(f"{SERVICE}    tty: true\n")
    changes: list[dict[str, Any]] = [
        {"Volumes": {"/x": {}}},
        {"NetworkingConfig": {"EndpointsConfig": {"corporate": {}}}},
        {"Labels": {}},
        {"Labels": sent(spec)["Labels"] | {"com.docker.compose.project": "prod"}},
        {"Labels": sent(spec)["Labels"] | {"itdash.instance": "another"}},
    ]
    for change in changes:
        with pytest.raises(EnvironmentFailedError, match="was not created"):
            look(spec, sent(spec) | change)


@pytest.mark.parametrize(
    ("asks", "grant", "key", "value"),
    [
        ("privileged: true", "privileged", "Privileged", True),
        (
            "devices: [/dev/kvm]",
            "devices",
            "Devices",
            [{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm", "CgroupPermissions": "rwm"}],
        ),
        ("device_cgroup_rules: ['c 1:3 mr']", "device_cgroup_rules", "DeviceCgroupRules", ["c 1:3 mr"]),
        (
            "gpus: all",
            "gpus",
            "DeviceRequests",
            [{"Driver": "", "Count": -1, "DeviceIDs": [], "Capabilities": [["gpu"]], "Options": {}}],
        ),
        ("runtime: runsc", "runtime", "Runtime", "runsc"),
        ("cgroup_parent: tests", "cgroup_parent", "CgroupParent", "tests"),
        ("cap_add: [SYS_PTRACE]", "cap_add.SYS_PTRACE", "CapAdd", ["SYS_PTRACE"]),
        ("extra_hosts: ['me:host-gateway']", "host-gateway", "ExtraHosts", ["me:host-gateway"]),
    ],
)
def test_what_is_granted_is_sent(checkout: Checkout, asks: str, grant: str, key: str, value: object) -> None:
    spec = checkout.load(f"{SERVICE}    {asks}\n")
    config = sent(spec, frozenset({grant}))

    look(spec, config, frozenset({grant}))
    assert config["HostConfig"][key] == value
    with pytest.raises(EnvironmentFailedError):
        look(spec, config)


# --- quotas ----------------------------------------------------------------------------------------------


def test_quotas_are_told_where_they_are_exceeded(checkout: Checkout) -> None:
    spec = checkout.load(
        "services:\n"
        "  a: {image: x, mem_limit: 3g, cpus: 1}\n"
        "  b: {image: x, volumes: ['one:/a', 'two:/b']}\n"
        "  c:\n    image: x\n    mem_limit: 2g\n    cpus: 1.5\n"
        "volumes:\n  one: {labels: {a: b}}\n  two: {labels: {a: b}}\n"
    )
    policy.check(spec, Quota(memory_bytes=5 * 1024**3, cpus=2.5))

    with pytest.raises(PolicyError) as caught:
        policy.check(spec, Quota(services=2, volumes=1, memory_bytes=4 * 1024**3, cpus=2))

    less = " Ask for less, or have an administrator raise the project's quota."
    assert [str(problem) for problem in caught.value.problems] == [
        "compose.yaml:5: 3 services are more than the 2 that one environment may have.",
        "compose.yaml:10: 2 volumes are more than the 1 that one environment may have.",
        f"compose.yaml:6: services.c: with it the services ask for more than 4 GiB of memory together.{less}",
        f"compose.yaml:7: services.c: with it the services ask for more than 2 processors together.{less}",
    ]


# --- files of the field ----------------------------------------------------------------------------------

PRIVILEGES = """blkio_config cap_add cgroup cgroup_parent cpu_rt_period cpu_rt_runtime credential_spec devices
device_cgroup_rules external_links gpus isolation oom_kill_disable oom_score_adj privileged provider runtime
security_opt sysctls use_api_socket userns_mode uts""".split()  # noqa: SIM905 - reads better


def asks_for_danger(config: dict[str, Any], folder: Path) -> bool:
    """Whether the model, in the reference's own words, asks for any of it: another eye than policy's."""
    services = config.get("services", {}).values()
    used = {name for service in services for name in service.get("networks") or ()}
    volumes = {entry.get("source") for service in services for entry in service.get("volumes") or ()}
    parts = [value for name, value in config.get("networks", {}).items() if name in used]
    parts += [value for name, value in config.get("volumes", {}).items() if name in volumes]
    return (
        any(_service_asks(service, str(folder)) for service in services)
        or any(
            (part or {}).get(key) not in {None, False, "bridge", "local", "default"}
            for part in parts
            for key in ("external", "driver", "enable_ipv6")
        )
        or any((part or {}).get(key) for part in parts for key in ("driver_opts", "ipam"))
    )


def _service_asks(service: dict[str, Any], folder: str) -> bool:
    build = service.get("build") or {}
    binds = [entry["source"] for entry in service.get("volumes") or () if entry["type"] == "bind"]
    paths = [*binds, *([build["context"]] if build.get("context") else ())]
    return (
        any(service.get(key) for key in PRIVILEGES)
        or any(str(service.get(key, "")).partition(":")[0] in {"host", "container"} for key in ("pid", "ipc"))
        or str(service.get("network_mode", "none")).partition(":")[0] not in {"none", "bridge", "service"}
        or any(str(server).startswith(("10.", "127.", "192.168.")) for server in service.get("dns") or ())
        or any("host-gateway" in host for host in service.get("extra_hosts") or ())
        or any(str(entry).startswith("container:") for entry in service.get("volumes_from") or ())
        or any(build.get(key) for key in ("entitlements", "network", "privileged", "ssh"))
        or any(not path.startswith(("$PROJECT", folder)) or path.endswith(".sock") for path in paths)
    )


def _row(key: str) -> str:
    """What was asked for, without the name of who asks; a quota for the sections it counts."""
    section, _, rest = key.partition(".")
    return rest.partition(".")[2] or f"more {section}"


def test_ordinary_files_of_the_field_are_unaffected(corpus: Path, tmp_path: Path) -> None:
    """Every file that Compose accepts and itdash can run: refused only where it asks for danger."""
    judged = refused = 0
    rows: Counter[str] = Counter()
    surprising = []
    for answer in sorted((corpus / "compose").glob("*.json")):
        known = json.loads(answer.read_text())
        if not known["accepted"]:
            continue
        shutil.copy(answer.with_suffix(".yaml"), tmp_path / "compose.yaml")
        try:
            spec = load_environment([Path("compose.yaml")], directory=tmp_path, variables={}, profiles=["*"])
        except SpecError:
            continue
        judged += 1
        try:
            policy.check(spec)
        except PolicyError as error:
            refused += 1
            rows.update({_row(problem.key) for problem in error.problems})
            if not asks_for_danger(known["config"], tmp_path):
                surprising.append(f"{answer.stem}: {error}")

    told = ", ".join(f"{row} {count}" for row, count in rows.most_common())
    print(f"policy: {judged - refused} of {judged} unaffected, {refused} ask for danger: {told}")  # noqa: T201
    assert judged > 300
    assert surprising == []
