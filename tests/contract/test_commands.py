"""What every engine promises of commands inside a service."""

from __future__ import annotations

import time

import pytest

from environments.errors import EnvironmentFailedError, FailureKind
from tests.contract.conftest import Place
from tests.contract.services import python, service, spec_of


def test_a_command_runs_inside_a_service(place: Place) -> None:
    one = service("one", environment={"COLOUR": "blue"})
    place.up(spec_of(one))

    command = ["/bin/sh", "-c", "echo $COLOUR $SIZE; echo no >&2; exit 3"]
    result = place.engine.execute(place.ref, "one", command, timeout_seconds=10, variables={"SIZE": "large"})

    assert result.exit_code == 3
    assert sorted(result.output.split()) == ["blue", "large", "no"]
    assert result.timed_out is False


def test_a_command_that_does_not_exist_is_exit_code_127(place: Place) -> None:
    place.up(spec_of(service("one")))

    result = place.engine.execute(place.ref, "one", ["no-such-program"], timeout_seconds=10)

    assert result.exit_code == 127
    assert "no-such-program" in result.output


def test_a_command_that_overruns_is_cut_off_in_time(place: Place) -> None:
    place.up(spec_of(service("one")))

    began = time.monotonic()
    result = place.engine.execute(
        place.ref, "one", ["/bin/sh", "-c", "echo begun; sleep 30"], timeout_seconds=0.7
    )

    assert result.timed_out is True
    assert result.output.strip() == "begun"
    assert time.monotonic() - began < 5


def test_a_commands_long_output_is_bounded(place: Place) -> None:
    place.up(spec_of(service("one")))

    result = place.engine.execute(place.ref, "one", python("print('x' * 1_000_000)"), timeout_seconds=20)

    assert result.exit_code == 0
    assert 60_000 < len(result.output) < 70_000


def test_a_command_in_an_ended_service_is_refused(place: Place) -> None:
    place.up(spec_of(service("one", "pass")))
    place.until_ended("one")

    with pytest.raises(EnvironmentFailedError) as caught:
        place.engine.execute(place.ref, "one", ["true"], timeout_seconds=5)
    assert caught.value.kind is FailureKind.SERVICE_EXITED


def test_variables_the_folder_and_the_command_are_as_asked(place: Place) -> None:
    show = "import os; print(os.environ['COLOUR'], os.getcwd())"
    one = service("one", show, environment={"COLOUR": "a b=c'd"}, working_dir="/tmp")
    place.up(spec_of(one))
    place.until_ended("one")

    [text] = place.texts("one")
    assert text.startswith("a b=c'd /")
    assert text.endswith("/tmp")


def test_an_entrypoint_stands_before_the_command(place: Place) -> None:
    one = service("one", entrypoint=("/bin/sh", "-c", 'echo "$0 $1"'), command=("first", "second"))
    place.up(spec_of(one))
    place.until_ended("one")

    assert place.texts("one") == ["first second"]
