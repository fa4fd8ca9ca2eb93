"""What a Dockerfile says about running its image: the little that the local engine can honour. Plain.

Nothing is built. ``CMD``, ``ENTRYPOINT``, ``WORKDIR`` and ``ENV`` of the last stage are read, so that a
service that leaves its command to its image runs here too; what a build would install must be there.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from environments.spec import EMPTY, Build


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """What an image runs unless the Compose file says otherwise."""

    command: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    working_dir: str | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: EMPTY)


def image_defaults(build: Build) -> ImageDefaults:
    """The defaults of the stage that is built; those of no image when there is no such file."""
    text = build.dockerfile_inline
    if text is None:
        try:
            text = (build.context / build.dockerfile).read_text()
        except (OSError, UnicodeDecodeError):
            return ImageDefaults()
    return _stage(text, build.target)


def _stage(text: str, target: str | None) -> ImageDefaults:
    """The last stage, or the one of that name; a stage begins with those of the one it is built from."""
    stages: dict[str, ImageDefaults] = {}
    name, current = "", ImageDefaults()
    for instruction, rest in _instructions(text):
        if instruction == "FROM":
            if name and name == target:
                break
            words = [word for word in rest.split() if not word.startswith("--")]
            name = words[-1].lower() if len(words) == 3 and words[1].upper() == "AS" else ""  # noqa: PLR2004
            current = stages.get(words[0].lower(), ImageDefaults()) if words else ImageDefaults()
        else:
            current = _after(current, instruction, rest)
        stages[name] = current
    return current


def _after(stage: ImageDefaults, instruction: str, rest: str) -> ImageDefaults:
    match instruction:
        case "CMD":
            return ImageDefaults(_words(rest), stage.entrypoint, stage.working_dir, stage.environment)
        case "ENTRYPOINT":
            # A new entrypoint drops an inherited command, as in the engine.
            return ImageDefaults((), _words(rest), stage.working_dir, stage.environment)
        case "WORKDIR":
            folder = str(Path(stage.working_dir or "/") / rest.strip("\"'"))
            return ImageDefaults(stage.command, stage.entrypoint, folder, stage.environment)
        case "ENV":
            environment = {**stage.environment, **_pairs(rest)}
            return ImageDefaults(stage.command, stage.entrypoint, stage.working_dir, environment)
        case _:
            return stage


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(lines)).splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction:
            yield instruction.upper(), rest.strip()


def _words(text: str) -> tuple[str, ...]:
    if text.startswith("["):
        try:
            return tuple(str(word) for word in json.loads(text))
        except ValueError:
            pass
    return ("/bin/sh", "-c", text)


def _pairs(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError:
        return {}
    if words and "=" not in words[0]:  # the old form: ENV NAME the rest
        return {words[0]: text.partition(" ")[2].strip()}
    return {name: value for name, _, value in (word.partition("=") for word in words) if "$" not in value}
