"""Configs and secrets: what a service finds in place, and what cannot be had."""

from __future__ import annotations

import pytest

from environments.spec import FileSpec, secrets_of
from tests.environments.checkout import Checkout

TOP = "configs:\n  conf: {content: 'debug=${LEVEL:-1}'}\nsecrets:\n  token: {environment: TOKEN}\n"


def service(keys: str, top: str = TOP) -> str:
    return f"services:\n  web:\n    image: x\n    {keys}\n{top}"


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("configs: [conf]", "/conf"),
        ("configs: [{source: conf}]", "/conf"),
        ("configs: [{source: conf, target: app.conf}]", "/app.conf"),
        ("configs: [{source: conf, target: /etc/app/../app.conf}]", "/etc/app.conf"),
        ("secrets: [token]", "/run/secrets/token"),
        ("secrets: [{source: token, target: api}]", "/run/secrets/api"),
        ("secrets: [{source: token, target: /etc/token}]", "/etc/token"),
    ],
)
def test_targets_begin_where_compose_puts_them(checkout: Checkout, written: str, target: str) -> None:
    [file] = checkout.load(service(written), TOKEN="t").services["web"].files

    assert file.target == target


def test_content_comes_from_the_file_the_run_or_the_checkout(checkout: Checkout) -> None:
    checkout.write("certs/ca.pem", "PEM\n")
    top = f"{TOP}  ca: {{file: ./certs/ca.pem}}\n"

    web = checkout.load(
        service("configs: [conf]\n    secrets: [token, ca]", top), TOKEN="of the run", LEVEL="3"
    ).services["web"]

    assert web.files == (
        FileSpec("/conf", b"debug=3"),
        FileSpec("/run/secrets/token", b"of the run", is_secret=True),
        FileSpec("/run/secrets/ca", b"PEM\n", is_secret=True),
    )


@pytest.mark.parametrize("mode", ["0440", "'0440'", "'440'", "0o440", "288"])
def test_mode_and_owner_are_taken_in_every_notation(checkout: Checkout, mode: str) -> None:
    text = service(f"configs: [{{source: conf, mode: {mode}, uid: '1000', gid: '50'}}]")

    [file] = checkout.load(text).services["web"].files

    assert (file.mode, file.uid, file.gid) == (0o440, 1000, 50)


def test_a_secret_is_never_taken_from_the_workers_own_environment(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "of the worker")

    [problem] = checkout.problems(service("secrets: [token]"))

    assert problem.startswith("compose.yaml:8: secrets.token: the run has no variable 'TOKEN'. Give")


@pytest.mark.parametrize(
    ("keys", "top", "problem"),
    [
        (
            "secrets: [s]",
            "secrets:\n  s: {external: true}",
            "compose.yaml:6: secrets.s is external: nothing outside the environment is kept for it. Give it",
        ),
        (
            "secrets: [s]",
            "secrets:\n  s:\n    file: none.txt",
            "compose.yaml:7: none.txt cannot be read: no such file",
        ),
        (
            "configs: [s]",
            "configs:\n  s:\n    file: ../../etc/passwd",
            "compose.yaml:7: ../../etc/passwd lies outside the checkout",
        ),
        (
            "configs:\n      - {source: s, uid: app}",
            "configs:\n  s: {content: x}",
            "compose.yaml:5: services.web.configs[0].uid: 'app' is not a number of a user or group",
        ),
        (
            "configs:\n      - {source: s, mode: 04755}",
            "configs:\n  s: {content: x}",
            "compose.yaml:5: services.web.configs[0].mode: 4755 is more than who may read",
        ),
        (
            "configs: [s]",
            "configs:\n  s: {content: x, template_driver: golang}",
            "compose.yaml:6: configs.s.template_driver is not supported yet",
        ),
    ],
)
def test_what_cannot_be_had_is_told_where_it_is_asked_for(
    checkout: Checkout, keys: str, top: str, problem: str
) -> None:
    found = checkout.problems(service(keys, top))

    assert found[0].startswith(problem), found


def test_a_folder_as_a_secret_is_refused(checkout: Checkout) -> None:
    (checkout.folder / "certs").mkdir()

    [problem] = checkout.problems(service("secrets: [s]", "secrets: {s: {file: certs}}"))

    assert "certs cannot be read: is a directory" in problem


def test_secrets_are_known_by_their_lines_and_never_shown(checkout: Checkout) -> None:
    checkout.write("key.pem", "BEGIN KEY\nMIIEvQIBADAN\nEND KEY\n")
    checkout.write("word", "postgres\n")
    text = (
        "services:\n  web: {image: x, secrets: [key, word], configs: [open]}\n"
        "  db: {image: 'registry:5000/library/postgres:17'}\n"
        "secrets: {key: {file: key.pem}, word: {file: word}}\nconfigs: {open: {content: not secret}}\n"
    )

    spec = checkout.load(text)

    # `postgres` is what the database is called: masked, no line about it could be read.
    assert list(secrets_of(spec)) == [
        "BEGIN KEY\nMIIEvQIBADAN\nEND KEY",
        "BEGIN KEY",
        "MIIEvQIBADAN",
        "END KEY",
    ]
    assert "MIIE" not in repr(spec)


def test_a_secret_of_many_services_is_kept_once(checkout: Checkout) -> None:
    checkout.write("big", "x" * 1_000_000)
    services = "".join(f"  s{number}: {{image: x, secrets: [big]}}\n" for number in range(500))

    spec = checkout.load(f"services:\n{services}secrets: {{big: {{file: big}}}}\n")

    assert len({id(service.files[0].content) for service in spec.services.values()}) == 1
