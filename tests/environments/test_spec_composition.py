"""`extends` and `include`: one project of several files."""

from pathlib import Path

import pytest

from environments.errors import SpecError
from environments.spec import Dependency, MountKind, load_environment
from tests.environments.checkout import Checkout


def sources(checkout: Checkout, name: str = "compose.yaml", service: str = "web") -> dict[str, str]:
    """Where the service's binds come from, by target, relative to the checkout."""
    mounts = checkout.load_files(name).services[service].mounts
    return {
        mount.target: str(mount.source).removeprefix(f"{checkout.folder}/")
        for mount in mounts
        if mount.kind is MountKind.BIND
    }


def test_a_service_begins_as_a_copy_of_the_one_it_extends(checkout: Checkout) -> None:
    spec = checkout.load(
        """\
services:
  base: {image: base, command: [run], environment: {A: "1", B: "1"}, depends_on: [db], ports: ["80:80"]}
  web: {extends: base, environment: [B=2], ports: ["81:81"], command: [other]}
  job: {extends: {service: web}, image: job, ports: !override ["82:82"], depends_on: !reset null}
  db: {image: db}
"""
    )

    web, job = spec.services["web"], spec.services["job"]
    assert (web.image, web.command, web.environment, web.ports) == (
        "base",
        ("other",),
        {"A": "1", "B": "2"},
        (80, 81),
    )
    assert web.depends_on == (Dependency("db"),)
    assert (job.image, job.environment, job.ports, job.depends_on) == ("job", {"A": "1", "B": "2"}, (82,), ())


def test_a_service_of_another_file_brings_its_paths_along(checkout: Checkout) -> None:
    checkout.write("lib/deep/deep.yaml", "services: {deep: {image: x, volumes: ['./d:/d', '../up:/up']}}")
    checkout.write(
        "lib/base.yaml",
        "services: {base: {extends: {file: deep/deep.yaml, service: deep}, build: ./app, env_file: base.env,"
        " volumes: ['./b:/b']}}",
    )
    checkout.write("lib/base.env", "FROM_BASE=1\n")
    checkout.write(
        "compose.yaml",
        "services: {web: {extends: {file: lib/base.yaml, service: base}, volumes: ['./w:/w']}}",
    )

    web = checkout.load_files("compose.yaml").services["web"]

    assert sources(checkout) == {"/d": "lib/deep/d", "/up": "lib/up", "/b": "lib/b", "/w": "w"}
    assert web.build is not None
    assert web.build.context == checkout.folder / "lib" / "app"
    assert web.environment == {"FROM_BASE": "1"}


def test_what_the_extended_file_needs_must_be_here(checkout: Checkout) -> None:
    checkout.write("base.yaml", "services: {base: {image: x, depends_on: [db]}, db: {image: y}}")

    assert checkout.problems("services:\n  web:\n    extends: {file: base.yaml, service: base}\n") == [
        "base.yaml:1: service 'web' depends on undefined service 'db'"
    ]


@pytest.mark.parametrize(
    ("extends", "problem"),
    [
        (
            "bse",
            "compose.yaml:3: cannot extend service 'bse': there is none of that name. Did you mean 'base'?",
        ),
        ("web", "compose.yaml:3: services extend each other in a circle: web -> web"),
        (
            "{file: none.yaml, service: a}",
            "compose.yaml:3: none.yaml cannot be read: no such file or directory",
        ),
        ("{file: ../up.yaml, service: a}", "compose.yaml:3: ../up.yaml lies outside the checkout"),
        (
            "{file: 'https://x/y.yaml', service: a}",
            "compose.yaml:3: 'https://x/y.yaml' is not a file of the checkout",
        ),
        (
            "{file: other.yaml, service: no}",
            "compose.yaml:3: cannot extend service 'no': there is none of that name",
        ),
        ("{file: other.yaml, service: circle}", "other.yaml:2: services extend each other in a circle"),
    ],
)
def test_what_cannot_be_extended_is_told(checkout: Checkout, extends: str, problem: str) -> None:
    checkout.write("other.yaml", "services:\n  circle: {extends: circle}\n")

    [found] = checkout.problems(f"services:\n  web:\n    extends: {extends}\n  base: {{image: x}}\n")

    assert found.startswith(problem)


def test_an_included_project_has_its_own_folder_and_its_own_variables(checkout: Checkout) -> None:
    checkout.write(
        "db/compose.yaml",
        "networks: {back: {internal: true}}\n"
        "services:\n"
        "  db: {image: '${IMAGE}', volumes: ['./init:/init'], env_file: db.env, environment: [IMAGE, TAG]}\n",
    )
    checkout.write("db/.env", "IMAGE=postgres\nTAG=theirs\n")
    checkout.write("db/db.env", "OF=${IMAGE}\n")
    checkout.write(".env", "TAG=ours\n")
    checkout.write(
        "compose.yaml",
        "include: [db/compose.yaml]\nservices: {web: {image: x, depends_on: [db], networks: [back]}}",
    )

    spec = checkout.load_files("compose.yaml")

    assert spec.services["db"].image == "postgres"
    assert spec.services["db"].environment == {"OF": "postgres", "IMAGE": "postgres", "TAG": "ours"}
    assert sources(checkout, service="db") == {"/init": "db/init"}
    assert spec.networks["back"].internal is True


def test_an_include_may_name_several_files_a_folder_and_variables(checkout: Checkout) -> None:
    checkout.write("a/one.yaml", "services: {db: {image: '$IMAGE', volumes: ['./x:/x'], labels: {one: '1'}}}")
    checkout.write("a/two.yaml", "services: {db: {labels: {two: '2'}}}")
    checkout.write("vars.env", "IMAGE=named\n")
    checkout.write(
        "compose.yaml",
        "include: [{path: [a/one.yaml, a/two.yaml], project_directory: elsewhere, env_file: vars.env}]\n",
    )

    db = checkout.load_files("compose.yaml").services["db"]

    assert (db.image, db.labels) == ("named", {"one": "1", "two": "2"})
    assert sources(checkout, service="db") == {"/x": "elsewhere/x"}


def test_what_is_included_and_defined_differently_is_refused(checkout: Checkout) -> None:
    checkout.write("inc.yaml", "services: {db: {image: one}}")

    assert checkout.load("include: [inc.yaml]\nservices: {db: {image: one}}\n").services["db"].image == "one"
    [problem] = checkout.problems("include: [inc.yaml]\nservices:\n  db: {image: two}\n")
    assert problem.startswith("compose.yaml:3: services.db is included and defined here too, differently.")


def test_a_further_file_may_override_what_is_included(checkout: Checkout) -> None:
    checkout.write("inc.yaml", "services: {db: {image: one}}")
    checkout.write("compose.yaml", "include: [inc.yaml]\n")
    checkout.write("over.yaml", "services: {db: {image: two}}")

    assert checkout.load_files("compose.yaml", "over.yaml").services["db"].image == "two"


@pytest.mark.parametrize(
    ("include", "problem"),
    [
        ("none.yaml", "compose.yaml:1: none.yaml cannot be read: no such file or directory"),
        ("../up.yaml", "compose.yaml:1: ../up.yaml lies outside the checkout"),
        ("'oci://x/y'", "compose.yaml:1: 'oci://x/y' is not a file of the checkout"),
        (
            "compose.yaml",
            "compose.yaml:1: files include each other in a circle: compose.yaml -> compose.yaml",
        ),
        (
            "a.yaml",
            "b.yaml:1: files include each other in a circle: compose.yaml -> a.yaml -> b.yaml -> a.yaml",
        ),
    ],
)
def test_what_cannot_be_included_is_told(checkout: Checkout, include: str, problem: str) -> None:
    checkout.write("a.yaml", "include: [b.yaml]\n")
    checkout.write("b.yaml", "include: [a.yaml]\n")

    [found] = checkout.problems(f"include: [{include}]\nservices: {{web: {{image: x}}}}\n")

    assert found.startswith(problem)


def test_includes_cannot_multiply_without_end(checkout: Checkout) -> None:
    for depth in range(8):
        checkout.write(f"f{depth}.yaml", f"include: [{', '.join([f'f{depth + 1}.yaml'] * 9)}]\n")
    checkout.write("f8.yaml", "services: {web: {image: x}}")

    with pytest.raises(SpecError, match="more than 200 files are read"):
        checkout.load_files("f0.yaml")


def test_naming_a_service_switches_its_profiles_on(checkout: Checkout) -> None:
    checkout.write("e2e.env", "A=1\n")
    checkout.write(
        "compose.yaml",
        "services:\n"
        "  web: {image: x}\n"
        "  browser: {image: y, profiles: [e2e]}\n"
        "  tests: {image: z, profiles: [e2e], depends_on: [browser], env_file: e2e.env}\n"
        "  debug: {image: z, profiles: [debug], env_file: none.env}\n",
    )

    spec = load_environment(
        [Path("compose.yaml")], directory=checkout.folder, variables={}, services=["tests"]
    )

    assert list(spec.services) == ["web", "browser", "tests"]
    assert spec.services["tests"].environment == {"A": "1"}


def test_files_of_services_that_are_off_are_not_asked_for(checkout: Checkout) -> None:
    text = "services: {web: {image: x}, db: {image: x, profiles: [b], env_file: none.env, label_file: none}}"

    assert list(checkout.load(text).services) == ["web"]


def test_labels_come_from_files_below_the_services_own(checkout: Checkout) -> None:
    checkout.write("labels", "a=of the file\nb=of the file\n")

    assert checkout.service("label_file: labels\nlabels: {a: own}").labels == {
        "a": "own",
        "b": "of the file",
    }


@pytest.mark.parametrize(
    ("services", "problem"),
    [
        (
            "{a: {image: x, container_name: one}, b: {image: x, container_name: one}}",
            "services 'a' and 'b' have one 'container_name', 'one'",
        ),
        (
            "{a: {image: x, mem_limit: 1g, deploy: {resources: {limits: {cpus: '1'}}}}}",
            "service 'a' sets 'mem_limit' and 'deploy.resources.limits.memory' differently",
        ),
        (
            "{a: {image: x, tmpfs: ['/x:size=1m'], volumes: ['/x']}}",
            "service 'a' mounts at '/x' what 'tmpfs[0]' mounts there too",
        ),
        (
            "{a: {image: x, depends_on: {b: {condition: service_started, required: false}}}}",
            "service 'a' depends on undefined service 'b'",
        ),
        (
            "{a: {build: {context: ., additional_contexts: {q: 'service:b'}}}, b: {image: x}}",
            "service 'a' builds on service 'b', which is not built itself",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused_as_compose_does(
    checkout: Checkout, services: str, problem: str
) -> None:
    [found] = checkout.problems(f"services: {services}")

    assert found.startswith(f"compose.yaml:1: {problem}")


def test_an_override_without_a_value_takes_the_command_away(checkout: Checkout) -> None:
    checkout.write("base.yaml", "services:\n  web: {image: x, command: run, working_dir: /app}\n")
    checkout.write("over.yaml", "services:\n  web:\n    command:\n    working_dir:\n")

    web = checkout.load_files("base.yaml", "over.yaml").services["web"]

    assert (web.command, web.working_dir) == (None, "/app")


def test_a_file_that_is_not_there_names_its_neighbour(checkout: Checkout) -> None:
    checkout.write("compose.ci.yaml", "services: {web: {image: x}}\n")

    [problem] = checkout.problems("include:\n  - compose.ci.yml\n")

    assert problem == (
        "compose.yaml:2: compose.ci.yml cannot be read: no such file or directory. "
        "Did you mean 'compose.ci.yaml'?"
    )
