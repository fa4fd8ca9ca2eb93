"""Names of images: where they come from, whether they may, and where a mirror has them. Plain."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

HUB: Final = "docker.io"
_OFFICIAL: Final = "library"
#: Images that are no images: what a Dockerfile begins with when it begins with nothing.
_NOTHING: Final = "scratch"
_DIRECTIVE: Final = re.compile(r"^#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)
_INSTRUCTION: Final = re.compile(r"^\s*([A-Za-z]+)\s+")
_COPIED_FROM: Final = re.compile(r"(?:^|[\s,])(?:--)?from=([^\s,]+)")
_ARGUMENT: Final = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")
_PLACE: Final = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*")


def repository(image: str) -> str:
    """The repository in full, without tag and digest: of ``postgres:17`` docker.io/library/postgres."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = f"{head}{slash}{last.partition(':')[0]}"
    first, slash, rest = name.partition("/")
    if not slash:
        return f"{HUB}/{_OFFICIAL}/{name}"
    if not _is_registry(first):
        return f"{HUB}/{name}"
    if first == HUB and "/" not in rest:
        return f"{HUB}/{_OFFICIAL}/{rest}"
    return name


def is_allowed(image: str, places: Collection[str]) -> bool:
    """Whether the image lies in one of the places: registries, namespaces, repositories. All do in none."""
    name = repository(image)
    return not places or (
        "$" not in name and any(name == place or name.startswith(f"{place}/") for place in places)
    )


def is_place(text: str) -> bool:
    """Whether the text names a registry, or something below one: the registry must always be named."""
    return bool(_PLACE.fullmatch(text)) and _is_registry(text.partition("/")[0])


def mirrored(image: str, mirror: str) -> str:
    """The name at a mirror of Docker Hub; unchanged without a mirror, or when the image is from elsewhere."""
    name = repository(image)
    if not mirror or not name.startswith(f"{HUB}/"):
        return image
    return f"{mirror}/{name.removeprefix(f'{HUB}/')}{_version(image)}"


def bases(dockerfile: str, arguments: Mapping[str, str]) -> list[str]:
    """Every image that a Dockerfile takes something from, in its order: ``FROM``, ``COPY --from``, mounts,
    and its own syntax. Arguments are filled in; one without a value stays as it is written."""
    return list(dict.fromkeys(_bases(dockerfile, arguments)))


def _bases(dockerfile: str, arguments: Mapping[str, str]) -> Iterator[str]:
    known: dict[str, str] = {}
    stages: set[str] = set()
    for line in _logical_lines(dockerfile):
        if directive := _DIRECTIVE.match(line):
            yield directive[1]
        instruction = _INSTRUCTION.match(line)
        match instruction and instruction[1].upper():
            case "ARG":
                known |= _declared(line, arguments)
            case "FROM":
                sources, stage = _begun(line)
                yield from _images(sources, known, stages)
                stages.add(stage)
            case "COPY" | "ADD" | "RUN":
                yield from _images(_COPIED_FROM.findall(line), known, stages)


def _declared(line: str, arguments: Mapping[str, str]) -> dict[str, str]:
    pairs = (part.partition("=") for part in line.split()[1:])
    return {
        name: arguments.get(name, value.strip("\"'"))
        for name, equals, value in pairs
        if equals or name in arguments
    }


def _begun(line: str) -> tuple[list[str], str]:
    """What a stage begins with, and its name; both empty where the line says nothing."""
    words = [word for word in line.split()[1:] if not word.startswith("--")]
    is_named = len(words) > 2 and words[1].upper() == "AS"  # noqa: PLR2004 - image, AS, name
    return words[:1], words[2].lower() if is_named else ""


def _images(sources: Iterable[str], known: Mapping[str, str], stages: Collection[str]) -> Iterator[str]:
    """Those of the sources that are neither earlier stages, by name or number, nor nothing."""
    for source in sources:
        image = _filled(source, known)
        if image.lower() not in stages and image != _NOTHING and not image.isdecimal():
            yield image


def _logical_lines(text: str) -> Iterator[str]:
    """Lines with those that a backslash continues put together; comments between them are left out."""
    held = ""
    for line in text.splitlines():
        if held and line.lstrip().startswith("#"):
            continue
        stripped = line.rstrip()
        if stripped.endswith(("\\", "`")):
            held += stripped[:-1] + " "
            continue
        yield held + line
        held = ""
    if held:
        yield held


def _filled(image: str, known: Mapping[str, str]) -> str:
    image = image.strip("\"'")
    return _ARGUMENT.sub(lambda found: known.get(found[1] or found[3]) or found[2] or found[0], image)


def _is_registry(part: str) -> bool:
    """As the engine tells a host from a namespace."""
    return "." in part or ":" in part or part == "localhost"


def _version(image: str) -> str:
    """Tag and digest, with what stands before them."""
    name, at, digest = image.partition("@")
    last = name.rpartition("/")[2]
    return f"{last[last.index(':') :] if ':' in last else ''}{at}{digest}"
