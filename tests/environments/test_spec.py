from __future__ import annotations

import pytest

from environments.spec import (
    Condition,
    Dependency,
    HealthCheck,
    Mount,
    MountKind,
    convert,
)
from environments.spec.schema import service_keys
from tests.environments.checkout import Checkout


def test_a_short_file_has_what_compose_would_give_it(checkout: Checkout) -> None:
    spec = checkout.load("services:\n  web:\n    image: nginx:1\n")

    web = spec.services["web"]
    assert web.image == "nginx:1"
    assert web.networks == {"default": ()}
    assert list(spec.networks) == ["default"]
    assert (web.command, web.entrypoint, web.environment, web.healthcheck) == (None, None, {}, None)
    assert web.init is True


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("sh -c 'echo a  b'", ("sh", "-c", "echo a  b")),
        ("[sh, -c, echo a]", ("sh", "-c", "echo a")),
        ("[]", ()),
        ("", None),
    ],
)
def test_commands_are_words(checkout: Checkout, written: str, words: tuple[str, ...] | None) -> None:
    assert checkout.service(f"command: {written}\nentrypoint: {written}").command == words


@pytest.mark.parametrize(
    "written", ['{A: "1", B: true, C: 1.50, D: }', '["A=1", "B=true", "C=1.5", D]', "[A=1, B=true, C=1.5, D]"]
)
def test_environment_variables_are_texts_in_either_notation(checkout: Checkout, written: str) -> None:
    assert checkout.service(f"environment: {written}").environment == {"A": "1", "B": "true", "C": "1.5"}


def test_a_name_without_a_value_passes_the_runs_variable_on_and_never_the_processs(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "of the worker")

    assert checkout.service("environment: [TOKEN, SECRET]", TOKEN="t").environment == {"TOKEN": "t"}


def test_environment_beats_env_file_and_later_files_beat_earlier(checkout: Checkout) -> None:
    checkout.write("one.env", "A=1\nB=1\nC=1\n")
    checkout.write("two.env", "B=2\nC=2\n")

    web = checkout.service("env_file: [one.env, two.env]\nenvironment: {C: '3'}")

    assert web.environment == {"A": "1", "B": "2", "C": "3"}


def test_a_missing_env_file_is_an_error_unless_it_is_not_required(checkout: Checkout) -> None:
    assert checkout.service("env_file: [{path: none.env, required: false}]").environment == {}
    assert checkout.problems("services:\n  web:\n    image: x\n    env_file:\n      - none.env\n") == [
        "compose.yaml:5: none.env cannot be read: no such file or directory"
    ]


def test_dependencies_in_either_notation(checkout: Checkout) -> None:
    short = checkout.service("depends_on: [db]")
    long = checkout.service("depends_on: {db: {condition: service_healthy, required: false}}")

    assert short.depends_on == (Dependency("db", Condition.STARTED, required=True),)
    assert long.depends_on == (Dependency("db", Condition.HEALTHY, required=False),)


def test_health_checks_are_spelled_out(checkout: Checkout) -> None:
    web = checkout.service(
        "healthcheck: {test: curl x, interval: 1m30s, timeout: 500ms, retries: '5', start_period: 2s}"
    )

    assert web.healthcheck == HealthCheck(("CMD-SHELL", "curl x"), 90.0, 0.5, 5, 2.0)


@pytest.mark.parametrize("written", ["{disable: true}", "{test: [NONE]}", '{disable: "yes"}'])
def test_health_checks_can_be_switched_off(checkout: Checkout, written: str) -> None:
    web = checkout.service(f"healthcheck: {written}")

    assert (web.healthcheck, web.healthcheck_disabled) == (None, True)


@pytest.mark.parametrize(
    ("written", "mount"),
    [
        ("data:/data", Mount(MountKind.VOLUME, "/data", "data")),
        ("data:/data:ro", Mount(MountKind.VOLUME, "/data", "data", read_only=True)),
        ("/data", Mount(MountKind.VOLUME, "/data")),
        ("{type: volume, source: data, target: /d}", Mount(MountKind.VOLUME, "/d", "data")),
        ("{type: tmpfs, target: /t, tmpfs: {size: 64m}}", Mount(MountKind.TMPFS, "/t", size_bytes=67108864)),
    ],
)
def test_volumes_in_either_notation(checkout: Checkout, written: str, mount: Mount) -> None:
    spec = checkout.load(
        f"services:\n  web:\n    image: x\n    volumes:\n      - {written}\nvolumes:\n  data:\n  unused:\n"
    )

    assert spec.services["web"].mounts == (mount,)
    assert set(spec.volumes) == ({"data"} if mount.source else set())


@pytest.mark.parametrize(
    "written", ["./src:/app:ro,cached", "{type: bind, source: src, target: /app, read_only: true}"]
)
def test_binds_are_absolute_paths_of_the_checkout(checkout: Checkout, written: str) -> None:
    assert checkout.service(f"volumes:\n  - {written}").mounts == (
        Mount(MountKind.BIND, "/app", str(checkout.folder / "src"), read_only=True),
    )


def test_relative_paths_begin_at_the_first_files_folder(checkout: Checkout) -> None:
    checkout.write("ci/compose.yaml", "services: {web: {build: .., volumes: ['./x:/x']}}")

    web = checkout.load_files("ci/compose.yaml").services["web"]

    assert web.build is not None
    assert web.build.context == checkout.folder
    assert web.mounts[0].source == str(checkout.folder / "ci" / "x")


def test_tmpfs_takes_a_size(checkout: Checkout) -> None:
    assert checkout.service("tmpfs: [/run, '/data:size=10m,mode=1777']").mounts == (
        Mount(MountKind.TMPFS, "/run"),
        Mount(MountKind.TMPFS, "/data", size_bytes=10485760, options=("mode=1777",)),
    )


def test_ports_are_those_the_service_listens_on(checkout: Checkout) -> None:
    web = checkout.service(
        'ports: ["8080:80", 443, "127.0.0.1:9000-9001:90-91/udp", {target: 7000, published: "1"}]\n'
        'expose: ["80", "81-82"]'
    )

    assert web.ports == (80, 443, 90, 91, 7000, 81, 82)


def test_networks_and_their_aliases(checkout: Checkout) -> None:
    spec = checkout.load(
        "services:\n  web: {image: x, networks: {front: , back: {aliases: [api]}}}\n"
        "networks: {front: , back: {internal: true, labels: [a=b]}, spare: }\n"
    )

    assert spec.services["web"].networks == {"front": (), "back": ("api",)}
    assert set(spec.networks) == {"front", "back"}
    assert (spec.networks["back"].internal, spec.networks["back"].labels) == (True, {"a": "b"})


def test_a_link_is_a_dependency_and_an_alias(checkout: Checkout) -> None:
    spec = checkout.load("services:\n  web: {image: x, links: ['db:database']}\n  db: {image: y}\n")

    assert spec.services["web"].depends_on == (Dependency("db"),)
    assert spec.services["db"].networks == {"default": ("database",)}


def test_limits_come_from_either_place(checkout: Checkout) -> None:
    old = checkout.service("mem_limit: 1.5g\ncpus: '0.5'\npids_limit: 100\nshm_size: 64m")
    new = checkout.service("deploy: {resources: {limits: {memory: 50M, cpus: '2', pids: 10}}}")

    assert (old.memory_bytes, old.cpus, old.pids_limit, old.shm_size_bytes) == (
        1610612736,
        0.5,
        100,
        67108864,
    )
    assert (new.memory_bytes, new.cpus, new.pids_limit) == (52428800, 2.0, 10)


def test_the_remaining_common_keys(checkout: Checkout) -> None:
    web = checkout.service(
        """\
working_dir: /app
user: "1000:1000"
labels: [a=b, c]
hostname: api
container_name: shop-api
init: false
profiles: []
cap_add: [CHOWN]
cap_drop: [ALL]
extra_hosts: ["a:10.0.0.1", "b=::1"]
ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3}
stop_signal: SIGINT
stop_grace_period: 1m
tty: "true"
read_only: true
x-itdash: {preset: none, ready: {http: 8080}}"""
    )

    assert (web.working_dir, web.user, web.hostname, web.container_name) == (
        "/app",
        "1000:1000",
        "api",
        "shop-api",
    )
    assert web.labels == {"a": "b", "c": ""}
    assert (web.init, web.tty, web.read_only) == (False, True, True)
    assert (web.cap_add, web.cap_drop) == (("CHOWN",), ("ALL",))
    assert web.extra_hosts == {"a": "10.0.0.1", "b": "::1"}
    assert web.ulimits == {"nofile": (1, 2), "nproc": (3, 3)}
    assert (web.stop_signal, web.stop_grace_period_seconds) == ("SIGINT", 60.0)
    assert web.extension == {"preset": "none", "ready": {"http": 8080}}


def test_builds(checkout: Checkout) -> None:
    web = checkout.service(
        "build: {context: app, dockerfile: D, args: [A=1, B], target: t}", B="from the run"
    )

    assert web.build is not None
    assert (web.build.context, web.build.dockerfile, web.build.target) == (checkout.folder / "app", "D", "t")
    assert web.build.args == {"A": "1", "B": "from the run"}


def test_anchors_and_merge_keys(checkout: Checkout) -> None:
    spec = checkout.load(
        """\
x-base: &base {image: shop, environment: &env {A: "1"}}
services:
  web: {<<: *base, command: run}
  job:
    <<: [{init: false}, *base]
    image: job
    environment: {<<: *env, B: "2"}
"""
    )

    assert spec.services["web"].image == "shop"
    assert (spec.services["job"].image, spec.services["job"].init) == ("job", False)
    assert spec.services["job"].environment == {"A": "1", "B": "2"}


def test_yes_no_on_and_off_are_words(checkout: Checkout) -> None:
    assert checkout.service("environment: {A: yes, B: no, C: on, D: off, E: 0o17, F: 1_000}").environment == {
        "A": "yes",
        "B": "no",
        "C": "on",
        "D": "off",
        "E": "15",
        "F": "1000",
    }


def test_services_of_other_profiles_stay_away(checkout: Checkout) -> None:
    checkout.write("compose.yaml", "services:\n  web: {image: x}\n  dbg: {image: y, profiles: [debug]}\n")

    assert list(checkout.load_files("compose.yaml").services) == ["web"]
    assert list(checkout.load_files("compose.yaml", profiles=("debug",)).services) == ["web", "dbg"]


def test_a_command_that_ends_early_is_noticed(checkout: Checkout) -> None:
    spec = checkout.load("services: {web: {image: x, command: migrate && serve}}")

    assert spec.services["web"].command == ("migrate",)
    assert spec.notices[0].startswith("services.web.command ends at its first unquoted")


def test_what_is_ignored_is_said(checkout: Checkout) -> None:
    spec = checkout.load(
        "version: '3.8'\nservices:\n  web: {image: 'x:${TAG}', restart: always, logging: {driver: syslog}}\n"
    )

    assert spec.notices == (
        "The variable TAG is not set; it is taken as empty.",
        "The key 'version' is obsolete and ignored.",
        "services.web.logging is ignored: logs are kept by itdash, whatever driver is named.",
        "services.web.restart: restarts are counted, and too many fail the environment.",
    )


def test_later_files_are_laid_over_earlier_ones(checkout: Checkout) -> None:
    checkout.write(
        "base.yaml",
        """\
services:
  web:
    image: one
    command: [a, b]
    environment: {A: "1", B: "1"}
    volumes: ["data:/data", "./src:/app"]
    ports: ["80:80"]
    tmpfs: [/run]
    healthcheck: {test: [CMD, "true"], interval: 5s}
volumes: {data: }
""",
    )
    checkout.write(
        "over.yaml",
        """\
services:
  web:
    image: two
    command: [c]
    environment: [B=2, C=2]
    volumes: ["./other:/app"]
    ports: ["81:81"]
    tmpfs: /tmp
    healthcheck: {interval: 1s}
  db: {image: db}
""",
    )

    spec = checkout.load_files("base.yaml", "over.yaml")

    web = spec.services["web"]
    assert (web.image, web.command, web.environment) == ("two", ("c",), {"A": "1", "B": "2", "C": "2"})
    assert [(mount.target, mount.source) for mount in web.mounts] == [
        ("/data", "data"),
        ("/app", str(checkout.folder / "other")),
        ("/run", None),
        ("/tmp", None),
    ]
    assert web.ports == (80, 81)
    assert web.healthcheck == HealthCheck(("CMD", "true"), interval_seconds=1.0)
    assert list(spec.services) == ["web", "db"]


def test_reset_takes_away_and_override_replaces(checkout: Checkout) -> None:
    checkout.write(
        "base.yaml",
        "services:\n  web: {image: x, ports: ['80:80'], environment: {A: '1'}, tmpfs: [/a], command: run}\n",
    )
    checkout.write(
        "over.yaml",
        "services:\n  web:\n    ports: !override ['81:81']\n    tmpfs: !reset []\n    command: !reset null\n"
        "    environment: !override {B: '2'}\n",
    )

    web = checkout.load_files("base.yaml", "over.yaml").services["web"]

    assert (web.ports, web.environment, web.mounts, web.command) == ((81,), {"B": "2"}, (), None)


def test_every_key_of_a_service_is_run_ignored_with_a_word_or_judged() -> None:
    known = convert._USED | convert._NOTED.keys() | set(convert._PRIVILEGES)

    # Both are put into the service before it is looked at.
    assert service_keys() - known == {"extends", "label_file"}
    assert convert._USED & convert._NOTED.keys() == set()


def test_a_service_is_so_many_containers_as_it_says(checkout: Checkout) -> None:
    assert checkout.service("tty: true").scale == 1
    assert checkout.service("scale: 0").scale == 0
    assert checkout.service("deploy: {replicas: 2}").scale == 2
