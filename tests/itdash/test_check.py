import json
from pathlib import Path
from typing import Any

import pytest

from itdash.cli import main

GOOD = """\
services:
  db:
    image: ${DB_IMAGE:-postgres:17}
  tests:
    image: python:3.13
    depends_on: [db]
"""
SUITES = """\
version: 1
suites:
  shop:
    compose: compose.yaml
    tests: tests
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text(GOOD)
    (tmp_path / "itdash.yml").write_text(SUITES)
    return tmp_path


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    code = main(["check", *arguments])
    return code, capsys.readouterr().out.splitlines()


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    code = main(["check", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_good_files_are_called_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(capsys, "itdash.yml", "compose.yaml") == (
        0,
        ["itdash.yml: good (suite file)", "compose.yaml: good (Compose file)"],
    )


def test_without_files_the_suite_file_here_is_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(capsys) == (0, ["itdash.yml: good (suite file)"])


def test_without_a_suite_file_the_compose_file_that_is_a_suite_is_checked(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "itdash.yml").unlink()

    assert checked(capsys) == (0, ["compose.yaml: good (Compose file)"])


def test_an_empty_folder_has_nothing_to_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert checked(capsys) == (2, [])


def test_every_mistake_is_told_with_file_and_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yaml").write_text("services:\n  web:\n    imge: x\n    ports: [x]\n    colour: red\n")

    assert checked(capsys, "compose.yaml") == (
        1,
        [
            "compose.yaml:3: unknown key 'imge' in services.web. Did you mean 'image'?",
            "compose.yaml:5: unknown key 'colour' in services.web",
        ],
    )


def test_a_suite_files_mistakes_are_told_with_their_lines(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "itdash.yml").write_text(f"{SUITES}    timout: 5m\n")

    assert checked(capsys) == (
        1,
        ["itdash.yml:6: unknown key 'timout' in suites.shop. Did you mean 'timeout'?"],
    )


def test_a_suite_is_checked_together_with_its_compose_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "itdash.yml").write_text(f"{SUITES}    before: [{{service: dbb, run: x}}]\n")

    code, [line] = checked(capsys)

    assert code == 1
    assert line.endswith("before[0].service: the Compose file has no service 'dbb'. Did you mean 'db'?")


def test_each_combination_of_the_matrix_is_checked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yaml").write_text(
        GOOD.replace("image: python:3.13", "image: x\n    mem_limit: ${MEM}")
    )
    (folder / "itdash.yml").write_text(f"{SUITES}    matrix: {{MEM: [1g, lots]}}\n")

    code, lines = checked(capsys)

    assert code == 1
    assert lines[0].startswith("compose.yaml:6: services.tests.mem_limit: 'lots' is not a size")


def test_a_suite_must_also_be_one_that_a_shared_engine_grants(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yaml").write_text("services:\n  tests:\n    image: x\n    privileged: true\n")

    with_suite_file = checked(capsys)
    (folder / "itdash.yml").unlink()
    without = checked(capsys)

    for code, lines in (with_suite_file, without):
        assert code == 1
        assert lines[0].startswith("compose.yaml:4: services.tests.privileged is not granted: it is root on")


def test_a_compose_file_that_is_named_is_judged_as_compose_would_with_a_note(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yaml").write_text("services:\n  tests:\n    image: x\n    privileged: true\n")

    code, lines = checked(capsys, "compose.yaml")

    assert code == 0
    assert lines[0].startswith(
        "compose.yaml: note: itdash does not run this: compose.yaml:4: services.tests.priv"
    )
    assert lines[1] == "compose.yaml: good (Compose file)"


def test_services_of_every_profile_are_checked_unless_some_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yaml").write_text("services:\n  a: {image: x}\n  b: {image: x, profiles: [p]}\n")

    [everything] = as_json(capsys, "compose.yaml")[1]
    [some] = as_json(capsys, "compose.yaml", "--profile", "q")[1]

    assert list(everything["model"]["services"]) == ["a", "b"]
    assert list(some["model"]["services"]) == ["a"]


@pytest.mark.parametrize(
    ("arguments", "text", "name"),
    [
        (["--project-name", "p"], "name: shop\nservices: {a: {image: '$COMPOSE_PROJECT_NAME'}}", "p"),
        ([], "name: shop\nservices: {a: {image: '$COMPOSE_PROJECT_NAME'}}", "shop"),
        ([], "services: {a: {image: '$COMPOSE_PROJECT_NAME'}}", "folder1"),
    ],
)
def test_the_project_has_the_name_that_compose_would_give_it(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str, name: str
) -> None:
    (folder / "Folder.1").mkdir()
    (folder / "Folder.1" / "compose.yaml").write_text(text)

    [answer] = as_json(capsys, "Folder.1/compose.yaml", *arguments)[1]

    assert answer["model"]["name"] == name
    assert answer["model"]["services"]["a"]["image"] == name
    assert answer["model"]["networks"]["default"]["name"] == f"{name}_default"


def test_json_holds_the_resolved_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, [answer] = as_json(capsys, "compose.yaml", "--var", "DB_IMAGE=postgres:16")

    assert code == 0
    assert (answer["file"], answer["kind"], answer["ok"]) == ("compose.yaml", "Compose file", True)
    assert answer["model"]["services"]["db"]["image"] == "postgres:16"
    assert answer["model"]["services"]["tests"]["depends_on"] == {
        "db": {"condition": "service_started", "required": True}
    }


def test_json_holds_the_suites_of_a_suite_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, [answer] = as_json(capsys, "itdash.yml")

    assert answer["model"]["suites"]["shop"]["timeout_seconds"] == 1800


def test_json_holds_the_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "compose.yaml").write_text("services: {web: {imge: x}}\n")

    code, [answer] = as_json(capsys, "compose.yaml")

    assert code == 1
    assert answer["ok"] is False
    assert answer["model"] is None
    assert answer["problems"] == [
        {
            "message": "unknown key 'imge' in services.web",
            "file": "compose.yaml",
            "line": 1,
            "key": "services.web.imge",
            "mend": "Did you mean 'image'?",
        }
    ]


@pytest.mark.parametrize("name", ["missing.yml", "folder", "latin.yml"])
def test_a_file_that_cannot_be_read_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / "folder").mkdir()
    (folder / "latin.yml").write_bytes(b"services: {web: {image: caf\xe9}}")

    code, lines = checked(capsys, name)

    assert code == 1
    assert lines[0].startswith(name)


def test_a_suite_file_deep_in_a_repository_names_its_compose_files_from_its_own_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".git").mkdir()
    (folder / "ci").mkdir()
    (folder / "ci" / "itdash.yml").write_text(SUITES.replace("compose.yaml", "../compose.yaml"))

    assert checked(capsys, "ci/itdash.yml") == (0, ["ci/itdash.yml: good (suite file)"])


def test_what_needs_a_grant_names_it_and_is_good_with_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yaml").write_text(
        GOOD.replace("    depends_on", "    privileged: true\n    depends_on")
    )

    code, [line] = checked(capsys)

    assert code == 1
    assert line.startswith("compose.yaml:6: services.tests.privileged is not granted: it is root on the")
    assert "An administrator can allow it with the grant `privileged`." in line
    assert checked(capsys, "--grant", "privileged") == (0, ["itdash.yml: good (suite file)"])


def test_what_is_not_granted_and_what_never_starts_are_told_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yaml").write_text(
        "services:\n"
        "  db: {image: x, healthcheck: {disable: true}}\n"
        "  tests: {image: x, privileged: true, depends_on: {db: {condition: service_healthy}}}\n"
    )

    _, lines = checked(capsys)

    assert "privileged is not granted" in lines[0]
    assert "waits until 'db' is healthy, but its health check is off" in lines[1]


def test_a_file_that_is_ignored_in_part_says_so_with_the_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "compose.yaml").write_text(GOOD.replace("    depends_on", "    attach: false\n    depends_on"))

    assert checked(capsys) == (
        0,
        [
            "itdash.yml: note: services.tests.attach is ignored: every service's output is kept.",
            "itdash.yml: good (suite file)",
        ],
    )
