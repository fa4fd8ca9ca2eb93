from pathlib import Path

import pytest

from environments import policy
from environments.errors import PolicyError
from tests.environments.checkout import Checkout

SERVICE = "services:\n  db: {image: db}\n  web:\n    image: web\n    "


def refused(checkout: Checkout, text: str) -> list[str]:
    spec = checkout.load(text)
    with pytest.raises(PolicyError) as caught:
        policy.check(spec)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("privileged: true", "privileged"),
        ('privileged: "yes"', "privileged"),
        ("devices: [/dev/kvm]", "devices"),
        ("device_cgroup_rules: ['c 1:3 mr']", "device_cgroup_rules"),
        ("gpus: all", "gpus"),
        ("runtime: runc-unsafe", "runtime"),
        ("cgroup: host", "cgroup"),
        ("cgroup_parent: /", "cgroup_parent"),
        ("credential_spec: {file: x.json}", "credential_spec"),
        ("use_api_socket: true", "use_api_socket"),
        ("pid: host", "pid"),
        ("pid: container:other", "pid"),
        ("ipc: host", "ipc"),
        ("uts: host", "uts"),
        ("userns_mode: host", "userns_mode"),
        ("network_mode: host", "network_mode"),
        ("network_mode: container:other", "network_mode"),
        ("network_mode: corporate", "network_mode"),
        ("cap_add: [SYS_ADMIN]", "cap_add"),
        ("cap_add: [cap_net_admin]", "cap_add"),
        ("cap_add: [ALL]", "cap_add"),
        ("security_opt: ['seccomp:unconfined']", "security_opt"),
        ("security_opt: ['apparmor=unconfined']", "security_opt"),
        ("sysctls: {kernel.shmmax: 1}", "sysctls"),
        ("volumes_from: ['container:other']", "volumes_from"),
        ("external_links: [other]", "external_links"),
        ("extra_hosts: ['host:host-gateway']", "extra_hosts"),
        ("volumes: ['/var/run/docker.sock:/var/run/docker.sock']", "volumes"),
        ("volumes: ['/run/containerd/containerd.sock:/x']", "volumes"),
        ("volumes: ['./docker.sock:/x']", "volumes"),
        ("volumes: ['/:/host']", "volumes"),
        ("volumes: ['/etc:/etc:ro']", "volumes"),
        ("volumes: ['../:/up']", "volumes"),
        ("volumes: ['./a/../../x:/up']", "volumes"),
        ("volumes: ['~/.ssh:/x']", "volumes"),
        ("volumes: ['~:/x']", "volumes"),
        ("volumes: ['C:/Users:/x']", "volumes"),
        ("volumes: ['C:\\Users:/x']", "volumes"),
        ("volumes: [{type: bind, source: /proc, target: /x}]", "volumes"),
        ("volumes: [{type: bind, source: link, target: /x}]", "volumes"),
        ("volumes: ['./link/inside:/x']", "volumes"),
        ("build: ..", "build.context"),
        ("build: /etc", "build.context"),
        ("build: link", "build.context"),
        ("build: {context: ., dockerfile: ../Dockerfile}", "build.dockerfile"),
        ("build: {context: ., dockerfile: /etc/passwd}", "build.dockerfile"),
        ("build: {context: ., privileged: true}", "build.privileged"),
        ("build: {context: ., network: host}", "build.network"),
        ("build: {context: ., ssh: [default]}", "build.ssh"),
        ("build: {context: ., entitlements: [security.insecure]}", "build.entitlements"),
    ],
)
def test_a_service_may_not_reach_beyond_its_container(checkout: Checkout, asked: str, key: str) -> None:
    (checkout.folder / "link").symlink_to("/etc")

    [problem] = refused(checkout, f"{SERVICE}{asked}\n")

    assert problem.startswith(f"compose.yaml:5: services.web.{key} is not granted")


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ("networks:\n  default: {external: true}", "networks.default.external"),
        ("networks:\n  default: {driver: host}", "networks.default.driver"),
        ("networks:\n  default: {driver: macvlan, driver_opts: {parent: eth0}}", "networks.default.driver"),
        ("networks:\n  default: {ipam: {config: [{subnet: 10.0.0.0/8}]}}", "networks.default.ipam"),
        ("volumes:\n  data: {external: true}", "volumes.data.external"),
        ("volumes:\n  data: {driver: nfs}", "volumes.data.driver"),
        ("volumes:\n  data: {driver_opts: {type: none, o: bind, device: /}}", "volumes.data.driver_opts"),
    ],
)
def test_networks_and_volumes_may_not_reach_beyond_the_environment(
    checkout: Checkout, asked: str, key: str
) -> None:
    problems = refused(
        checkout,
        f"{SERVICE}volumes: ['data:/x']\n{asked}\n" + ("" if "data" in asked else "volumes: {data: }\n"),
    )

    assert problems[0].startswith(f"compose.yaml:7: {key} is not granted")


@pytest.mark.parametrize(
    "asked",
    [
        "privileged: false",
        "cap_add: [CHOWN, CAP_NET_BIND_SERVICE]",
        "cap_drop: [ALL]",
        "network_mode: none",
        "network_mode: service:db",
        "pid: service:db",
        "ipc: shareable",
        "volumes_from: [db]",
        "volumes: ['./src:/app', '.:/all', 'data:/data', /anonymous]",
        "volumes: ['./link:/x']",
        "build: .",
        "build: {context: app, dockerfile: ../Dockerfile}",
        "extra_hosts: ['a:10.0.0.1']",
        "tmpfs: /run",
    ],
)
def test_what_stays_inside_is_granted(checkout: Checkout, asked: str) -> None:
    (checkout.folder / "src").mkdir()
    (checkout.folder / "link").symlink_to("src")

    policy.check(checkout.load(f"{SERVICE}{asked}\nvolumes: {{data: }}\n"))


def test_unused_resources_do_no_harm(checkout: Checkout) -> None:
    policy.check(checkout.load(f"{SERVICE}tty: true\nnetworks:\n  spare: {{external: true}}\n"))


def test_every_refusal_is_told_with_what_to_do(checkout: Checkout) -> None:
    problems = refused(
        checkout, f"{SERVICE}privileged: true\n    pid: host\n    cap_add: [ALL, SYS_PTRACE]\n"
    )

    assert len(problems) == 4
    assert all(problem.endswith("override it with '!reset'.") for problem in problems)


def test_an_override_can_take_a_danger_away(checkout: Checkout) -> None:
    checkout.write("base.yaml", f"{SERVICE}privileged: true\n")
    checkout.write("over.yaml", "services: {web: {privileged: !reset null}}\n")

    policy.check(checkout.load_files("base.yaml", "over.yaml"))


def test_a_link_that_appears_after_loading_is_followed_when_judged(checkout: Checkout) -> None:
    spec = checkout.load(f"{SERVICE}volumes: ['./later:/x']\n")
    (checkout.folder / "later").symlink_to(Path("/etc"))

    with pytest.raises(PolicyError):
        policy.check(spec)


def test_an_environment_may_not_grow_without_end(checkout: Checkout) -> None:
    services = "".join(f"  s{number}: {{image: x}}\n" for number in range(21))

    assert refused(checkout, f"services:\n{services}") == [
        "compose.yaml:22: 21 services are more than the 20 that one environment may have."
    ]
