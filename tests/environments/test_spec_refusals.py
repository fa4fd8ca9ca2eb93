from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import HealthCheck as Check
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.errors import SpecError
from tests.environments.checkout import Checkout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "services: {web: {image: x, comand: y}}",
            "compose.yaml:1: unknown key 'comand' in services.web. Did you mean",
        ),
        (
            "service:\n  web: {image: x}",
            "compose.yaml:1: unknown key 'service' at the top of the file. Did you mean",
        ),
        ("services:\n  web:\n    image: 5", "compose.yaml:3: services.web.image must be a string"),
        ("services:\n  web: {image: x}\n  web: {image: y}", "compose.yaml:3: the key 'web' is there twice"),
        ("services:\n  1: {image: x}", "compose.yaml:2: the key 1 is not a string"),
        (
            "services:\n  web:\n    init: true",
            "compose.yaml:2: service 'web' has neither an image nor a build",
        ),
        ("services: []", "compose.yaml:1: services must be a mapping"),
        ("services: {}", "compose.yaml:1: no services are defined"),
        ("- a", "compose.yaml:1: the file must be a mapping"),
        ("", "compose.yaml:1: the file is empty"),
        ("services:\n  web: [", "compose.yaml:3: not YAML"),
        (
            "services:\n  web:\n    image: x\n    networks: [bak]\nnetworks: {back: }",
            "compose.yaml:4: service 'web' refers to undefined network 'bak'. Did you mean 'back'",
        ),
        (
            "services:\n  web:\n    image: x\n    volumes:\n      - dat:/x\nvolumes: {data: }",
            "compose.yaml:5: service 'web' refers to undefined volume 'dat'. Did you mean",
        ),
        (
            "services:\n  web: {image: x, depends_on: [dbb]}\n  db: {image: x}",
            "compose.yaml:2: service 'web' depends on undefined service 'dbb'. Did you mean 'db'?",
        ),
        (
            "services:\n  web: {image: x, depends_on: {db: {condition: healthy}}}\n  db: {image: x}",
            "compose.yaml:2: services.web.depends_on.db.condition must be one of",
        ),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}",
            "compose.yaml:2: services wait for each other in a circle: a -> b -> a",
        ),
        (
            "services:\n  web: {image: x, ports: ['99999']}",
            "compose.yaml:2: services.web.ports: port '99999'",
        ),
        (
            "services:\n  web:\n    image: x\n    ports:\n      - 80\n      - 'localhost:80:80'",
            "compose.yaml:6: services.web.ports: port 'localhost:80:80': 'localhost' is not an IP",
        ),
        (
            "services:\n  web: {image: x, mem_limit: lots}",
            "compose.yaml:2: services.web.mem_limit: 'lots' is not a size",
        ),
        (
            "services:\n  web: {image: x, healthcheck: {test: x, interval: 5}}",
            "compose.yaml:2: services.web.healthcheck.interval must be a string",
        ),
        (
            "services:\n  web: {image: x, healthcheck: {test: x, interval: '5'}}",
            "compose.yaml:2: services.web.healthcheck: interval: '5' is not a duration",
        ),
        (
            "services:\n  web: {image: x, volumes: ['data::/b']}",
            "compose.yaml:2: services.web.volumes: mount 'data::/b'",
        ),
        (
            "services:\n  web: {image: x, environment: {A: [1]}}",
            "compose.yaml:2: services.web.environment.A must be",
        ),
        (
            "services:\n  web:\n    image: x\n    volumes:\n      - {type: image, source: a, target: /b}",
            "compose.yaml:5: services.web.volumes[0] of type 'image' is not supported yet",
        ),
        (
            "services:\n  web: {build: 'https://x/y.git'}",
            "compose.yaml:2: services.web.build.context: 'https://x/y.git' is not a folder",
        ),
        ("a: &a [*a]", "compose.yaml:1: cycle: the anchor 'a' holds itself"),
        ("a: *b", "compose.yaml:1: unknown anchor 'b'"),
    ],
)
def test_a_refusal_names_file_line_key_and_mend(checkout: Checkout, text: str, problem: str) -> None:
    found = checkout.problems(text)

    assert found[0].startswith(problem), found


def test_every_problem_is_found_not_only_the_first(checkout: Checkout) -> None:
    problems = checkout.problems("services:\n  a: {imge: x}\n  b: {image: 5}\nvolume: {}\n")

    assert len(problems) == 3


def test_a_file_of_its_own_names_its_own_lines(checkout: Checkout) -> None:
    checkout.write("base.yaml", "services:\n  web: {image: x}\n")
    checkout.write("over.yaml", "services:\n  web:\n    depends_on: [db]\n")

    with pytest.raises(SpecError, match=r"^over\.yaml:3: service 'web' depends on undefined service 'db'"):
        checkout.load_files("base.yaml", "over.yaml")


def test_no_file_outside_the_checkout_is_read(checkout: Checkout) -> None:
    secret = checkout.folder.parent / "secret.env"
    secret.write_text("TOKEN=t\n")
    (checkout.folder / "link.env").symlink_to(secret)

    for path in ["../secret.env", str(secret), "link.env"]:
        [problem] = checkout.problems(f"services:\n  web: {{image: x, env_file: '{path}'}}\n")
        assert "lies outside the checkout" in problem
    with pytest.raises(SpecError, match="lies outside the checkout"):
        checkout.load_files("../compose.yaml")


def test_aliases_cannot_grow_a_small_file_into_a_large_one(checkout: Checkout) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]

    [problem] = checkout.problems("\n".join(lines))

    assert "more than 20,000 values once aliases are followed" in problem


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_endless_nesting_is_refused(checkout: Checkout, text: str) -> None:
    [problem] = checkout.problems(text)

    assert "nested more than 60 levels deep" in problem or "not YAML" in problem


def test_a_large_file_is_refused_unread(checkout: Checkout) -> None:
    [problem] = checkout.problems("#" * 10_000_000)

    assert problem == "compose.yaml:1: compose.yaml is larger than 1024 KiB"


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"a: \x00", b"a: \xed\xa0\x80", b"caf\xe9: x"])
def test_bytes_that_are_no_text_are_refused(checkout: Checkout, raw: bytes) -> None:
    (checkout.folder / "compose.yaml").write_bytes(raw)

    with pytest.raises(SpecError):
        checkout.load_files("compose.yaml")


def test_thousands_of_mistakes_cost_no_more_than_fifty(checkout: Checkout) -> None:
    services = "".join(f"  service{n}: {{image: x, depends_on: [servise{n + 90000}]}}\n" for n in range(2000))

    assert len(checkout.problems(f"services:\n{services}")) == 50


def test_a_long_chain_of_dependencies_is_walked_once(checkout: Checkout) -> None:
    chain = "".join(f"  s{n}: {{image: x, depends_on: [s{n + 1}]}}\n" for n in range(2000))

    assert len(checkout.load(f"services:\n{chain}  s2000: {{image: x}}\n").services) == 2001


@given(st.text())
@settings(suppress_health_check=[Check.function_scoped_fixture])
def test_any_text_is_a_spec_or_a_spec_error(checkout: Checkout, text: str) -> None:
    (checkout.folder / "compose.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))

    with suppress(SpecError):
        checkout.load_files("compose.yaml", profiles=("*",))


_SERVICE_KEYS = """
build command configs depends_on deploy devices entrypoint env_file environment expose extends extra_hosts
healthcheck image labels links networks network_mode ports profiles scale secrets tmpfs ulimits user volumes
volumes_from x-itdash mem_limit cpus restart stop_grace_period
"""
SERVICE_KEYS = st.sampled_from(_SERVICE_KEYS.split())
_INNER_KEYS = """
a b web test interval retries disable context args target source type published size limits resources memory
cpus condition required service file path soft hard <<
"""
INNER_KEYS = st.sampled_from(_INNER_KEYS.split())
WORDS = [
    "x",
    "${X:-y}",
    "${",
    "1m",
    "64m",
    "80:80",
    "a:b:c",
    "./x:/y",
    "service:web",
    "=",
    "K=V",
    "web",
    "true",
    "é",
]
LEAVES = st.one_of(
    st.sampled_from(WORDS), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER_KEYS, inner, max_size=3),
    max_leaves=8,
)


def as_yaml(value: object) -> str:
    """Flow style by hand: YAML's own writers refuse half of what readers must bear."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {as_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_yaml, value)) + "]"
    if isinstance(value, str):
        return "'" + value.replace("'", "''").replace("\n", " ") + "'"
    return "" if value is None else str(value).lower()


@given(
    st.dictionaries(SERVICE_KEYS, TREES, max_size=5),
    st.sampled_from(["", "!reset ", "!override "]),
)
@settings(suppress_health_check=[Check.function_scoped_fixture], max_examples=300)
def test_any_service_is_a_spec_or_a_spec_error(
    checkout: Checkout, service: dict[str, object], tag: str
) -> None:
    body = "".join(f"    {key}: {tag}{as_yaml(value)}\n" for key, value in service.items())
    (checkout.folder / "compose.yaml").write_bytes(
        f"services:\n  web:\n{body}".encode("utf-8", "surrogatepass")
    )

    with suppress(SpecError):
        checkout.load_files("compose.yaml", "compose.yaml", profiles=("*",))
