"""Whatever a loader or a payload gets wrong: what is sent to the engine is harmless, or is not sent."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.docker_engine import last_check, payload, surroundings
from environments.errors import EnvironmentFailedError
from environments.labels import EnvironmentRef
from environments.spec import Build, EnvironmentSpec, Mount, MountKind, Port, ServiceSpec

REF: Final = EnvironmentRef("itd-12345678-1", "test", "run:1", 1, 2_000_000_000)
NETWORKS: Final = {"default": "n1", "back": "n2"}
#: What everyone may add: written down here by itself, so that a longer list there is noticed.
HARMLESS: Final = """CHOWN DAC_OVERRIDE FOWNER FSETID KILL NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID
SYS_CHROOT""".split()  # noqa: SIM905 - reads better
#: Keys of the engine's that reach the host whatever they say.
OF_THE_HOST: Final = """Privileged Devices DeviceCgroupRules DeviceRequests Binds CgroupParent Cgroup
CgroupnsMode Runtime UTSMode UsernsMode VolumeDriver Links OomKillDisable OomScoreAdj MaskedPaths
ReadonlyPaths PublishAllPorts StorageOpt Isolation BlkioWeight CpuRealtimeRuntime CpuRealtimePeriod
KernelMemory ContainerIDFile""".split()  # noqa: SIM905 - reads better
WORDS: Final = """web db default n1 host none bridge / /etc container:itd-12345678-1-db container:other
container:itd-99999999-1-db service:db service:web service:nobody ns:/x host-gateway 10.0.0.1 1.1.1.1
169.254.169.254 unconfined seccomp=unconfined /var/run/docker.sock ../x all ALL runc itdash.instance
com.docker.compose.project""".split()  # noqa: SIM905 - reads better

words = st.sampled_from(WORDS) | st.text(max_size=8)
names = st.dictionaries(words, words, max_size=3)
lists = st.lists(words, max_size=3).map(tuple)
amounts = st.none() | st.integers(-1, 2**50)
capabilities = st.lists(
    st.sampled_from(
        [*HARMLESS, "SYS_ADMIN", "ALL", "cap_net_admin", "NET_RAW", "CAP_CHOWN", "BPF", "sys_ptrace"]
    ),
    max_size=3,
).map(tuple)
mounts = st.lists(
    st.builds(
        Mount,
        kind=st.sampled_from(MountKind),
        target=words,
        source=st.none() | words,
        read_only=st.booleans(),
        size_bytes=amounts,
        options=lists,
    ),
    max_size=3,
).map(tuple)
ports = st.lists(st.builds(Port, st.integers(1, 65_535), st.sampled_from(["tcp", "udp"])), max_size=2).map(
    tuple
)
anything = words | st.booleans() | lists.map(list) | names | st.integers()
PRIVILEGES: Final = """privileged gpus runtime cgroup_parent pid ipc uts userns_mode cgroup security_opt
oom_score_adj use_api_socket build.ssh""".split()  # noqa: SIM905 - reads better
privileges = st.dictionaries(st.sampled_from(PRIVILEGES), anything, max_size=4) | st.fixed_dictionaries(
    {}, optional={"volumes_from": lists.map(list), "sysctls": names, "device_cgroup_rules": lists.map(list)}
)
ORDINARY: Final = ServiceSpec("web", image="web", networks={"default": ()}, published=(Port(80, "tcp"),))
#: What a model may say of a service. A few at a time: with all of them hardly one would be let through.
FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "image": words,
    "build": st.none(),
    "command": st.none() | lists,
    "environment": names,
    "mounts": mounts,
    "networks": st.dictionaries(st.sampled_from(["default", "back", "foreign"]), lists, max_size=2),
    "network_mode": st.none() | words,
    "hostname": st.none() | words,
    "labels": names,
    "listens": ports,
    "published": ports,
    "cap_add": capabilities,
    "cap_drop": lists,
    "group_add": lists,
    "extra_hosts": names,
    "dns": lists,
    "ulimits": st.dictionaries(
        words | st.just("nofile"), st.tuples(st.integers(), st.integers()), max_size=2
    ),
    "shm_size_bytes": amounts,
    "memory_bytes": amounts,
    "cpus": st.none() | st.floats(0.001, 1e6),
    "pids_limit": amounts,
    "privileges": privileges,
    "restart": words | st.just("always"),
}


@st.composite
def services(draw: st.DrawFn) -> ServiceSpec:
    """An ordinary service of which up to four things are otherwise."""
    changed = draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=4, unique=True))
    return replace(ORDINARY, **{name: draw(FIELDS[name]) for name in changed})


def body(service: ServiceSpec) -> dict[str, Any]:
    """What the engine would be sent for a model that nobody has judged, whose project has no grant."""
    spec = EnvironmentSpec(services={"web": service, "db": ServiceSpec("db", image="db")})
    config = payload.container_config(
        REF,
        service,
        image="web",
        networks=NETWORKS,
        copied_folders=frozenset(mount.source for mount in service.mounts if mount.source),
        api=(1, 47),
        cpus=2,
        limits=payload.Limits(),
    )
    config["HostConfig"] |= payload.granted(service, frozenset()) | payload.weight(spec)
    surroundings.add_to(config, REF, spec, service)
    return config


def is_let_through(config: dict[str, Any], service: ServiceSpec) -> bool:
    try:
        last_check.refuse_danger(config, REF, service, networks=NETWORKS)
    except EnvironmentFailedError:
        return False
    return True


def dangers(config: dict[str, Any]) -> list[str]:
    """What reaches beyond the environment, by another eye than the last check's."""
    host = config["HostConfig"]
    own = f"container:{REF.name}-"
    joined = [host.get(key, "") for key in ("NetworkMode", "PidMode", "IpcMode")]
    addresses = [place for places in host.get("PortBindings", {}).values() for place in places]
    added = [name.upper().removeprefix("CAP_") for name in host["CapAdd"]]
    found = {
        "a key of the host's": [key for key in OF_THE_HOST if key in host],
        "a mount that is no volume": [one for one in host["Mounts"] if one["Type"] != "volume"],
        "somebody's volume": [
            one for one in host["Mounts"] if not one.get("Source", f"{REF.name}_").startswith(f"{REF.name}_")
        ],
        "a driver": [one for one in host["Mounts"] if "DriverConfig" in one.get("VolumeOptions", {})],
        "the host's namespace": [
            mode for mode in joined if mode == "host" or (":" in mode and not mode.startswith(own))
        ],
        "somebody's network": set(config["NetworkingConfig"]["EndpointsConfig"]) - {"n1", "n2"},
        "a capability": set(added) - set(HARMLESS),
        "confinement": [] if host["SecurityOpt"] == ["no-new-privileges:true"] else ["loosened"],
        "a port for others": [place for place in addresses if place["HostIp"] != "127.0.0.1"],
        "a port of a number": [place for place in addresses if place["HostPort"]],
        "the host by a name": [one for one in host["ExtraHosts"] if one.endswith(":host-gateway")],
        "a log elsewhere": [] if host["LogConfig"]["Type"] == "json-file" else ["driver"],
        "no limit": [key for key in ("Memory", "MemorySwap", "PidsLimit", "NanoCpus") if host[key] <= 0],
        "swap": [] if host["Memory"] == host["MemorySwap"] else ["swap"],
        "labels of ours": [config["Labels"]["itdash.instance"]]
        if config["Labels"]["itdash.instance"] != "test"
        else [],
    }
    return [f"{what}: {asked}" for what, asked in found.items() if asked]


@given(service=services())
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_asks_nothing_dangerous_is_sent(service: ServiceSpec) -> None:
    config = body(service)

    assert not is_let_through(config, service) or dangers(config) == []


def test_an_ordinary_service_is_let_through() -> None:
    config = body(ORDINARY)

    assert is_let_through(config, ORDINARY)
    assert dangers(config) == []


@given(
    key=st.sampled_from(OF_THE_HOST) | st.text("ABCDefgh", min_size=1, max_size=12),
    value=anything | st.none() | st.lists(names, max_size=2),
)
@settings(max_examples=200, deadline=None)
def test_a_key_that_nobody_has_named_is_never_sent_whatever_it_says(key: str, value: object) -> None:
    """Also empty: an empty list of masked paths unmasks them all."""
    for level in ("HostConfig", ""):
        config = body(ORDINARY)
        place = config[level] if level else config
        if key in place:
            continue
        place[key] = value

        is_granted_and_empty = bool(level) and key in last_check._GRANTED and not value
        assert is_let_through(config, ORDINARY) is is_granted_and_empty


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("HostConfig", "MaskedPaths"), []),
        (("HostConfig", "ReadonlyPaths"), []),
        (("HostConfig", "MemorySwap"), 2 * payload.Limits().memory_bytes),
        (("HostConfig", "NanoCpus"), -1),
        (("HostConfig", "ShmSize"), 2**40),
        (("HostConfig", "CpuShares"), 262_144),
        (("HostConfig", "Ulimits"), [{"Name": "nofile", "Soft": 1, "Hard": 1, "More": 1}]),
        (("HostConfig", "Ulimits"), [{"Name": "x", "Soft": 1, "Hard": 1}]),
        (("HostConfig", "PortBindings"), {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": ""}]}),
        (("HostConfig", "PortBindings"), {"80/tcp": [{"HostPort": ""}]}),
        (("HostConfig", "PortBindings"), {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}),
        (("HostConfig", "LogConfig", "Config", "gelf-address"), "udp://10.0.0.1"),
        (("HostConfig", "RestartPolicy", "More"), 1),
        (("Healthcheck",), {"Test": ["NONE"], "More": 1}),
        (("NetworkingConfig", "More"), {}),
        (("NetworkingConfig", "EndpointsConfig", "n1", "IPAMConfig"), {"IPv4Address": "10.0.0.2"}),
        (("NetworkingConfig", "EndpointsConfig", "n1", "DriverOpts"), {"x": "y"}),
        (("NetworkingConfig", "EndpointsConfig", "n1", "Links"), ["other"]),
        (("NetworkingConfig", "EndpointsConfig", "corporate"), {}),
        (("NetworkDisabled",), False),
        (("MacAddress",), "02:42:ac:11:00:02"),
    ],
)
def test_a_mistake_of_the_payload_is_not_sent(path: tuple[str, ...], value: object) -> None:
    config: dict[str, Any] = body(ORDINARY)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    assert not is_let_through(config, ORDINARY)


def test_a_build_changes_nothing_of_what_is_sent() -> None:
    built = replace(ORDINARY, build=Build(context="/etc"))  # type: ignore[arg-type] # a loader's mistake

    assert body(built) == body(ORDINARY)
