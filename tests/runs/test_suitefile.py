from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.suitefile import (
    Branches,
    Gates,
    Hook,
    ScheduleSpec,
    SuiteFileError,
    SuiteSpec,
    read_suite,
    read_suite_file,
    suite_from_compose,
)
from runs.vocabulary import Level

WHOLE = """\
version: 1
suites:
  checkout:
    compose: docker-compose.test.yml        # one path or a list, merged as Compose does
    tests: integration-tests                # the service whose exit ends the run
    results: [/results/**/*.xml]            # JUnit XML, collected from that container
    artifacts: [/results/screenshots/**]
    level: integration                      # unit | integration | contract | e2e | load
    timeout: 20m
    shards: 4
    matrix: {ORDER_IMAGE: ["order:1.8", "order:1.9"]}
    before:                                 # in order, inside the named service, once it is ready
      - {service: user-service, run: "alembic upgrade head"}
    data:                                   # recipes that tests may call through the control API
      user-with-orders: {service: user-service, run: "python seed.py --orders {count}"}
    on:
      push: {branches: [main, "release/*"], paths: ["services/**"]}
      pull_request: {}
      schedule: [{cron: "0 2 * * *", timezone: Europe/Berlin, branch: main}]
    gates: {new_failures: 0, new_flaky: 0, duration_increase: 25%}
    keep_on_failure: 30m                    # hold the environment for a person to look at
"""


def read_one(body: str) -> SuiteSpec:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return read_suite_file(f"version: 1\nsuites:\n  shop:\n{lines}").suites["shop"]


def problems_of(text: str) -> list[str]:
    with pytest.raises(SuiteFileError) as caught:
        read_suite_file(text)
    return [str(problem) for problem in caught.value.problems]


def test_the_documented_file_is_read_whole() -> None:
    suite = read_suite_file(WHOLE).suites["checkout"]

    assert suite.compose == ("docker-compose.test.yml",)
    assert suite.tests == "integration-tests"
    assert suite.results == ("/results/**/*.xml",)
    assert suite.artifacts == ("/results/screenshots/**",)
    assert suite.level is Level.INTEGRATION
    assert suite.timeout_seconds == 1200
    assert suite.shards == 4
    assert suite.matrix == {"ORDER_IMAGE": ("order:1.8", "order:1.9")}
    assert suite.before == (Hook("user-service", "alembic upgrade head"),)
    assert suite.data == {"user-with-orders": Hook("user-service", "python seed.py --orders {count}")}
    assert suite.push == Branches(branches=("main", "release/*"), paths=("services/**",))
    assert suite.pull_request == Branches()
    assert suite.schedules == (ScheduleSpec("0 2 * * *", "Europe/Berlin", "main"),)
    assert suite.gates == Gates(new_failures=0, new_flaky=0, duration_increase=0.25)
    assert suite.keep_on_failure_seconds == 1800
    assert suite.definition["on"]["push"]["branches"] == ["main", "release/*"]


def test_a_short_suite_has_sensible_defaults() -> None:
    suite = read_one("compose: [a.yml, b.yml]\ntests: tests")

    assert suite.compose == ("a.yml", "b.yml")
    assert suite.results == ("/results/**/*.xml", "/reports/**/*.xml")
    assert suite.timeout_seconds == 1800
    assert (suite.shards, suite.matrix, suite.level) == (1, {}, Level.INTEGRATION)
    assert (suite.push, suite.pull_request, suite.schedules) == (None, None, ())
    assert suite.gates == Gates()
    assert suite.keep_on_failure_seconds == 0


def test_on_is_a_word_and_not_a_truth_value() -> None:
    assert read_one("compose: a.yml\ntests: t\non:\n  push:").push == Branches()


def test_an_unknown_key_names_its_line_and_the_nearest_known_one() -> None:
    text = "version: 1\nsuites:\n  shop:\n    compose: a.yml\n    tests: t\n    timout: 20m\n"

    assert problems_of(text) == ["itdash.yml:6: unknown key 'timout' in suites.shop. Did you mean 'timeout'?"]


def test_every_problem_is_told_at_once() -> None:
    text = """\
version: 2
suites:
  shop:
    compose: ../other/compose.yml
    level: system
    timeout: 20
    shards: many
    results: [out/*.xml]
    on: {schedule: [{cron: "at noon"}, {cron: "0 2 * * *", timezone: Mars/Base}]}
    gates: {duration_increase: 0.25}
"""

    expected = [
        "itdash.yml:1: version must be 1. Begin the file with 'version: 1'.",
        "itdash.yml:4: suites.shop needs the key 'tests'. Name the service that runs the tests.",
        "itdash.yml:4: suites.shop.compose: '../other/compose.yml' lies outside the repository",
        "itdash.yml:5: suites.shop.level: 'system' is not one of unit, integration, contract, e2e, load",
        "itdash.yml:6: suites.shop.timeout: 20 has no unit. Write for example 20s or 20m.",
        "itdash.yml:7: suites.shop.shards: must be a whole number from 1 to 64",
        "itdash.yml:8: suites.shop.results: 'out/*.xml' is not an absolute path. Begin with '/'.",
        "itdash.yml:9: suites.shop.on.schedule[0].cron: 'at noon' is not a cron line",
        "itdash.yml:9: suites.shop.on.schedule[1].timezone: 'Mars/Base' is not a time zone",
        "itdash.yml:10: suites.shop.gates.duration_increase: '0.25' is not a percentage",
    ]
    for problem, beginning in zip(problems_of(text), expected, strict=True):
        assert problem.startswith(beginning)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "itdash.yml:1: the file must be one mapping"),
        ("- a", "itdash.yml:1: the file must be one mapping"),
        ("version: 1\n", "itdash.yml:1: the file has no suite. Add one below 'suites:'."),
        ("version: 1\nsuites: []\n", "itdash.yml:2: suites must be a mapping"),
        ("version: 1\nsuites:\n  a: 5\n", "itdash.yml:3: suites.a must be a mapping"),
        (
            "version: 1\nversion: 1\n",
            "itdash.yml:2: the key 'version' is there twice; the first is in line 1",
        ),
        ("a: [", "itdash.yml:2: not YAML: while parsing a flow node did not find expected node content"),
    ],
)
def test_a_file_that_is_none_says_so(text: str, problem: str) -> None:
    assert problem in problems_of(text)


def test_a_matrix_may_not_ask_for_more_environments_than_anyone_can_run() -> None:
    values = ", ".join(f"v{number}" for number in range(26))

    with pytest.raises(SuiteFileError, match="make 104 environments; 100 are allowed"):
        read_one(f"compose: a.yml\ntests: t\nshards: 4\nmatrix: {{IMAGE: [{values}]}}")


def test_matrix_values_are_texts_whatever_they_look_like() -> None:
    assert read_one("compose: a.yml\ntests: t\nmatrix: {PG: [16, 17.5, true]}").matrix == {
        "PG": ("16", "17.5", "true")
    }


def test_paths_are_those_of_the_repository_wherever_the_suite_file_lies() -> None:
    text = "version: 1\nsuites:\n  shop: {compose: [test.yml, ../base.yml], tests: t}\n"

    suite = read_suite_file(text, file="services/shop/itdash.yml").suites["shop"]

    assert suite.compose == ("services/shop/test.yml", "services/base.yml")


@pytest.mark.parametrize("name", ["tests", "test", "integration-tests", "sut"])
def test_a_compose_file_with_a_service_of_a_known_name_is_a_suite(name: str) -> None:
    suite = suite_from_compose(
        f"services:\n  db: {{image: x}}\n  {name}: {{image: y}}\n", file="compose.yaml"
    )

    assert suite == SuiteSpec(name="tests", compose=("compose.yaml",), tests=name)


@pytest.mark.parametrize("labels", ['{itdash.tests: "true"}', "{itdash.tests: true}", "[itdash.tests=true]"])
def test_a_label_says_which_service_runs_the_tests(labels: str) -> None:
    text = f"services:\n  tests: {{image: x}}\n  checks: {{image: y, labels: {labels}}}\n"

    suite = suite_from_compose(text, file="compose.yaml")

    assert suite is not None
    assert suite.tests == "checks"


def test_a_label_says_where_the_reports_are() -> None:
    text = "services: {tests: {image: x, labels: {itdash.results: '/out/*.xml /more/*.xml'}}}"

    suite = suite_from_compose(text, file="compose.yaml")

    assert suite is not None
    assert suite.results == ("/out/*.xml", "/more/*.xml")


def test_two_services_labelled_as_the_tests_are_one_too_many() -> None:
    text = "services:\n  a: {labels: [itdash.tests=true]}\n  b: {labels: [itdash.tests=true]}\n"

    with pytest.raises(SuiteFileError, match=r"compose\.yaml:3: 'a' and 'b' are both labelled"):
        suite_from_compose(text, file="compose.yaml")


def test_an_ordinary_compose_file_is_no_suite() -> None:
    assert suite_from_compose("services: {web: {image: x}}", file="compose.yaml") is None


def test_a_checkout_is_searched_for_its_suite_file_first(tmp_path: Path) -> None:
    (tmp_path / "itdash.yml").write_text(WHOLE)
    (tmp_path / "compose.yaml").write_text("services: {tests: {image: x}}")

    assert read_suite(tmp_path, name="checkout").timeout_seconds == 1200


def test_a_checkout_without_a_suite_file_may_have_a_compose_file_that_is_a_suite(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("services: {web: {image: x}}")
    (tmp_path / "compose.yaml").write_text("services: {tests: {image: x}}")

    suite = read_suite(tmp_path, name="shop")

    assert (suite.name, suite.compose, suite.tests) == ("shop", ("compose.yaml",), "tests")


def test_a_path_may_name_a_suite_file_or_a_compose_file(tmp_path: Path) -> None:
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "suites.yml").write_text("version: 1\nsuites: {a: {compose: c.yml, tests: t}}")
    (tmp_path / "ci" / "c.yml").write_text("services: {sut: {image: x}}")

    assert read_suite(tmp_path, name="a", path="ci/suites.yml").compose == ("ci/c.yml",)
    assert read_suite(tmp_path, name="b", path="ci/c.yml").tests == "sut"


def test_a_suite_that_is_not_in_the_file_is_told_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "itdash.yml").write_text(WHOLE)

    with pytest.raises(
        SuiteFileError, match=r"no suite 'chekout'; the file has checkout\. Did you mean 'checkout'"
    ):
        read_suite(tmp_path, name="chekout")


@pytest.mark.parametrize("path", ["../itdash.yml", "missing.yml", "link.yml"])
def test_only_files_of_the_checkout_are_read(tmp_path: Path, path: str) -> None:
    (tmp_path / "itdash.yml").write_text(WHOLE)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "link.yml").symlink_to(tmp_path / "itdash.yml")

    with pytest.raises(SuiteFileError):
        read_suite(checkout, name="checkout", path=path)


def test_a_checkout_without_anything_to_run_says_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(SuiteFileError, match=r"Add an itdash\.yml"):
        read_suite(tmp_path, name="shop")


WORDS = """
version suites compose tests results level timeout shards matrix before data on push branches schedule cron
timezone gates duration_increase service run
"""
KEYS = st.sampled_from(WORDS.split())
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["20m", "25%", "a.yml"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def as_yaml(value: object) -> str:
    """Flow style by hand: YAML's own writers refuse half of what readers must bear."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    return "" if value is None else str(value)


@given(
    st.one_of(
        st.text(),
        VALUES.map(as_yaml),
        st.dictionaries(KEYS, VALUES).map(lambda suite: "version: 1\nsuites: {a: " + as_yaml(suite) + "}"),
    )
)
def test_any_text_is_a_suite_file_or_a_suite_file_error(text: str) -> None:
    with suppress(SuiteFileError):
        read_suite_file(text)
    with suppress(SuiteFileError):
        suite_from_compose(text, file="compose.yaml")
