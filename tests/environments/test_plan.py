from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from environments.errors import SpecError
from environments.plan import Progress, StartPlan, start_seconds
from environments.spec import Condition, Dependency, EnvironmentSpec, ServiceSpec

STARTED, HEALTHY, COMPLETED = Condition.STARTED, Condition.HEALTHY, Condition.COMPLETED


def make_plan(dependencies: Mapping[str, list[Dependency]]) -> StartPlan:
    return StartPlan(
        EnvironmentSpec(
            services={
                name: ServiceSpec(name=name, image="x", depends_on=tuple(entries))
                for name, entries in dependencies.items()
            }
        )
    )


def test_services_without_dependencies_start_at_once_in_the_files_order() -> None:
    plan = make_plan({"web": [], "db": [], "cache": []})

    assert plan.ready({}) == ["web", "db", "cache"]


def test_each_condition_waits_for_what_it_says() -> None:
    plan = make_plan(
        {
            "db": [],
            "migrate": [Dependency("db", HEALTHY)],
            "api": [Dependency("migrate", COMPLETED), Dependency("db", HEALTHY)],
            "tail": [Dependency("db", STARTED)],
        }
    )

    assert plan.ready({}) == ["db"]
    assert plan.ready({"db": Progress.STARTING}) == []
    assert plan.ready({"db": Progress.STARTED}) == ["tail"]
    assert plan.ready({"db": Progress.READY, "tail": Progress.STARTED}) == ["migrate"]
    states = {"db": Progress.READY, "tail": Progress.STARTED, "migrate": Progress.READY}
    assert plan.ready(states) == []
    assert plan.ready(states | {"migrate": Progress.COMPLETED}) == ["api"]


def test_a_one_shot_that_ended_well_counts_as_started() -> None:
    plan = make_plan({"seed": [], "api": [Dependency("seed", STARTED)]})

    assert plan.ready({"seed": Progress.COMPLETED}) == ["api"]


def test_what_can_never_start_is_told_at_once_and_all_the_way_up() -> None:
    plan = make_plan(
        {"db": [], "api": [Dependency("db", HEALTHY)], "tests": [Dependency("api", STARTED)], "other": []}
    )

    assert plan.blocked({"db": Progress.FAILED}) == ["api", "tests"]
    assert plan.blocked({"db": Progress.STARTED}) == []
    assert plan.blocked({"db": Progress.COMPLETED}) == ["api", "tests"]


def test_an_optional_dependency_that_failed_or_never_starts_is_not_waited_for() -> None:
    plan = make_plan(
        {
            "db": [],
            "search": [Dependency("db", HEALTHY)],
            "api": [Dependency("search", HEALTHY, required=False)],
        }
    )

    assert plan.ready({"db": Progress.STARTED}) == []
    assert plan.ready({"db": Progress.FAILED}) == ["api"]
    assert plan.ready({"db": Progress.READY, "search": Progress.FAILED}) == ["api"]


def test_an_optional_dependency_that_is_not_there_is_left_out() -> None:
    plan = make_plan({"api": [Dependency("search", HEALTHY, required=False)]})

    assert plan.ready({}) == ["api"]


def test_unmet_conditions_read_as_sentences() -> None:
    plan = make_plan({"db": [], "api": [Dependency("db", HEALTHY)]})

    assert [str(unmet) for unmet in plan.unmet({"db": Progress.STARTED})] == [
        "api waits for db (service_healthy), which is started"
    ]


@pytest.mark.parametrize(
    ("dependencies", "way"),
    [
        ({"a": ["a"]}, "a -> a"),
        ({"a": ["b"], "b": ["a"]}, "a -> b -> a"),
        ({"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a"]}, "a -> b -> c -> a"),
    ],
)
def test_a_circle_is_refused_and_named_all_the_way_round(
    dependencies: dict[str, list[str]], way: str
) -> None:
    with pytest.raises(SpecError, match=way):
        make_plan({name: [Dependency(other) for other in others] for name, others in dependencies.items()})


def test_a_dependency_on_nothing_is_refused() -> None:
    with pytest.raises(SpecError, match="'api' depends on undefined service 'bd'"):
        make_plan({"api": [Dependency("bd")]})


def test_waiting_for_the_health_of_a_service_without_a_check_is_refused() -> None:
    services = {
        "db": ServiceSpec(name="db", image="x", healthcheck_disabled=True),
        "api": ServiceSpec(name="api", image="x", depends_on=(Dependency("db", HEALTHY),)),
    }

    with pytest.raises(SpecError, match="health check is off"):
        StartPlan(EnvironmentSpec(services=services))


def test_the_end_goes_from_dependants_to_what_they_depend_on() -> None:
    plan = make_plan(
        {"db": [], "cache": [], "api": [Dependency("db"), Dependency("cache")], "tests": [Dependency("api")]}
    )

    assert plan.stop_order() == [["tests"], ["api"], ["db", "cache"]]


def test_what_a_service_needs_is_found_however_far() -> None:
    plan = make_plan({"db": [], "api": [Dependency("db")], "tests": [Dependency("api")], "mail": []})

    assert plan.needed_for(["tests"]) == {"tests", "api", "db"}


def test_it_is_known_under_which_conditions_a_service_is_waited_for() -> None:
    plan = make_plan({"db": [], "a": [Dependency("db", HEALTHY)], "b": [Dependency("db", STARTED)]})

    assert plan.waited_for("db") == {HEALTHY, STARTED}
    assert plan.waited_for("a") == frozenset()


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[Dependency]]:
    """Any graph without circles: each service depends on some of those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 9)))]
    graph = {
        name: [
            Dependency(other, draw(st.sampled_from(Condition)), draw(st.booleans()))
            for other in draw(st.lists(st.sampled_from(names[:index]), unique=True) if index else st.just([]))
        ]
        for index, name in enumerate(names)
    }
    return dict(draw(st.permutations(list(graph.items()))))


@given(graphs(), st.data())
def test_whatever_happens_every_service_starts_or_is_told_blocked(
    graph: dict[str, list[Dependency]], data: st.DataObject
) -> None:
    plan = make_plan(graph)
    states: dict[str, Progress] = {}
    while True:
        ready = plan.ready(states)
        running = [name for name, progress in states.items() if progress is Progress.READY]
        if not ready and not running:
            break
        for name in ready:
            assert all(entry.service in states for entry in graph[name] if entry.required)
            states[name] = data.draw(st.sampled_from([Progress.READY, Progress.COMPLETED, Progress.FAILED]))
        for name in running:
            states[name] = data.draw(st.sampled_from([Progress.COMPLETED, Progress.FAILED]))

    assert set(states) | set(plan.blocked(states)) == set(graph)
    assert not set(states) & set(plan.blocked(states))


@given(graphs())
def test_start_order_puts_every_dependency_first_and_stop_order_last(
    graph: dict[str, list[Dependency]],
) -> None:
    plan = make_plan(graph)
    order = plan.start_order()
    layer_of = {name: index for index, layer in enumerate(plan.stop_order()) for name in layer}

    assert sorted(order) == sorted(graph) == sorted(layer_of)
    for name, dependencies in graph.items():
        for dependency in dependencies:
            assert order.index(dependency.service) < order.index(name)
            assert layer_of[dependency.service] > layer_of[name]


def test_what_services_ask_for_beyond_the_whole_is_added_to_it() -> None:
    def seconds(whole: float | None, *own: float | None) -> float:
        services = {
            str(number): ServiceSpec(str(number), image="x", start_timeout_seconds=one)
            for number, one in enumerate(own)
        }
        return start_seconds(EnvironmentSpec(services, start_timeout_seconds=whole), otherwise=120.0)

    assert seconds(None, None, 60.0) == 120.0
    assert seconds(180.0, None, 60.0) == 180.0
    # 180 beyond the first 120, and 30 beyond them.
    assert seconds(None, 300.0, 150.0, 60.0) == 330.0
