from __future__ import annotations

import pytest

from tests.environments.checkout import Checkout


@pytest.mark.parametrize(
    ("written", "image"),
    [
        ("$FULL", "full"),
        ("${FULL}", "full"),
        ("a-$FULL-b", "a-full-b"),
        ("${NONE:-default}", "default"),
        ("${NONE-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY-default}x", "x"),
        ("${FULL:-default}", "full"),
        ("${FULL:+there}", "there"),
        ("x${EMPTY:+there}", "x"),
        ("${EMPTY+there}", "there"),
        ("${FULL:?needed}", "full"),
        ("${EMPTY?needed}x", "x"),
        ("${NONE:-${FULL}}", "full"),
        ("${NONE:-a${NONE:-b}c}", "abc"),
        ("$$FULL", "$FULL"),
        ("^re$", "^re$"),
        ("a $ b", "a $ b"),
        ("$1", "$1"),
    ],
)
def test_variables_are_filled_in_as_compose_does(checkout: Checkout, written: str, image: str) -> None:
    spec = checkout.load(f"services: {{web: {{image: '{written}'}}}}", FULL="full", EMPTY="")

    assert spec.services["web"].image == image


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("${NONE:?set it}", "required variable NONE is missing a value: set it"),
        ("${EMPTY:?${FULL}}", "required variable EMPTY is missing a value: full"),
        ("${NONE?}", "required variable NONE is missing a value"),
        ("${}", "invalid interpolation format in '${}'"),
        ("${ FULL}", "invalid interpolation format in '${ FULL}'"),
        ("${FULL!}", "invalid interpolation format in '${FULL!}'"),
        ("${FULL", "invalid interpolation format in '${FULL'"),
    ],
)
def test_variables_that_cannot_be_filled_in_are_told(checkout: Checkout, written: str, message: str) -> None:
    [problem] = checkout.problems(f"services:\n  web:\n    image: '{written}'\n", FULL="full", EMPTY="")

    assert problem.startswith(f"compose.yaml:3: services.web.image: {message}")


def test_a_variable_in_an_unused_default_is_not_missed(checkout: Checkout) -> None:
    spec = checkout.load("services: {web: {image: '${FULL:-${NONE}}'}}", FULL="full")

    assert spec.services["web"].image == "full"
    assert spec.notices == ()


def test_a_variable_that_is_required_in_an_unused_default_is_missed_as_in_compose(checkout: Checkout) -> None:
    [problem] = checkout.problems("services: {web: {image: '${FULL:-${NONE:?always}}'}}", FULL="full")

    assert "required variable NONE is missing a value: always" in problem


def test_keys_are_never_filled_in(checkout: Checkout) -> None:
    assert checkout.service("labels: {'a$FULL': x}", FULL="full").labels == {"a$FULL": "x"}
    assert checkout.service("labels: ['a$FULL=x']", FULL="full").labels == {"afull": "x"}


def test_values_take_their_type_after_filling_in(checkout: Checkout) -> None:
    web = checkout.service(
        "tty: ${T}\nhealthcheck: {test: x, retries: $N}\nmem_limit: ${M}", T="yes", N="7", M="1g"
    )

    assert (web.tty, web.memory_bytes) == (True, 1073741824)
    assert web.healthcheck is not None
    assert web.healthcheck.retries == 7


def test_dotenv_stands_below_the_runs_variables(checkout: Checkout) -> None:
    checkout.write(".env", "TAG=1\nNAME=shop\n")

    assert checkout.load("services: {web: {image: '$NAME:$TAG'}}", TAG="2").services["web"].image == "shop:2"


def test_dotenv_files_in_composes_dialect(checkout: Checkout) -> None:
    checkout.write(
        "all.env",
        """\
# comment
PLAIN=a b # comment
HASH=a#b
export EXPORTED=1
SINGLE='$PLAIN \\n'
DOUBLE="x\\ty ${PLAIN}"
LINES="one
two"
EMPTY=
SPACED = 1
DEFAULT=${NONE:-d}
PASSED
ABSENT
QUOTE="a\\"b"
URL=http://x/?a=b
""",
    )

    assert checkout.service("env_file: all.env", PASSED="on").environment == {
        "PLAIN": "a b",
        "HASH": "a#b",
        "EXPORTED": "1",
        "SINGLE": "$PLAIN \\n",
        "DOUBLE": "x\ty a b",
        "LINES": "one\ntwo",
        "EMPTY": "",
        "SPACED": "1",
        "DEFAULT": "d",
        "PASSED": "on",
        "QUOTE": 'a"b',
        "URL": "http://x/?a=b",
    }
