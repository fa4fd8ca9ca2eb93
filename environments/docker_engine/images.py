"""Images: found, pulled or built, once for the same content."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Any

from docker.api.client import APIClient
from docker.errors import APIError, BuildError, ImageNotFound
from docker.utils.build import exclude_paths

from environments.docker_engine.errors import explanation, translated
from environments.errors import EnvironmentFailedError, Evidence, FailureKind
from environments.labels import INSTANCE
from environments.registries import mirrored
from environments.spec import Build, ServiceSpec

REPOSITORY = "itd-build"
#: Nothing in it, nothing to run: holds volumes while they are filled.
EMPTY_IMAGE = "itdash/empty:1"
LOG_TAIL_LINES = 100
BUILD_TIMEOUT_SECONDS = 1200
RATE_LIMIT = re.compile(r"toomanyrequests|too many requests|rate limit", re.IGNORECASE)
FROM = re.compile(r"^\s*FROM\s+(?:--\S+\s+)*(\S+)", re.IGNORECASE | re.MULTILINE)
ARGUMENT = re.compile(r"^\s*ARG\s+(\w+)(?:=(\S+))?", re.IGNORECASE | re.MULTILINE)
BUILDKIT_ONLY = re.compile(
    r"requires BuildKit|unknown instruction: (?:EOF|<<)|dockerfile parse error", re.IGNORECASE
)


class Images:
    """The engine's images as services ask for them. One pull or build at a time for each."""

    def __init__(self, api: APIClient, stream_api: APIClient, *, mirror: str = "") -> None:
        self._api = api
        self._mirror = mirror
        self._stream_api = stream_api
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def prepare(self, service: ServiceSpec, instance: str) -> str:
        """Return the image that a service runs; raise IMAGE_MISSING or BUILD_FAILED with the mend."""
        if service.build is not None:
            return self._built(service, service.build, instance)
        if service.image is None:
            message = f"Service '{service.name}' has neither an image nor a build."
            raise EnvironmentFailedError(message, kind=FailureKind.IMAGE_MISSING, service=service.name)
        with self._turns[service.image]:
            return self._found(service, service.image)

    def digest(self, image: str) -> str:
        """The image's content address: of the registry where one is known, of the engine otherwise."""
        with translated(f"looking at image {image}"):
            facts = self._inspect(image)
        return str(next(iter(facts.get("RepoDigests") or []), facts["Id"]))

    def empty(self) -> str:
        """Return an image with nothing in it, made once per engine."""
        with self._turns[EMPTY_IMAGE], translated("making an empty image"):
            if not self._has(EMPTY_IMAGE):
                nothing = io.BytesIO()
                tarfile.open(fileobj=nothing, mode="w").close()
                repository, _, tag = EMPTY_IMAGE.partition(":")
                self._api.import_image_from_data(nothing.getvalue(), repository=repository, tag=tag)
        return EMPTY_IMAGE

    def is_there(self, service: ServiceSpec) -> bool:
        """Say whether what a service runs is on the engine already, so that preparing it takes no time."""
        if service.build is None:
            return self._has(service.image or "")
        with tempfile.TemporaryFile() as packed:
            content = _packed_context(service.build, packed)
        return self._has(f"{REPOSITORY}:{self._address(service.build, content)}")

    def _inspect(self, image: str) -> dict[str, Any]:
        facts: dict[str, Any] = self._api.inspect_image(image)  # type: ignore[no-untyped-call] # stubs lack it
        return facts

    def _has(self, image: str) -> bool:
        try:
            self._inspect(image)
        except ImageNotFound:
            return False
        return True

    def _found(self, service: ServiceSpec, image: str) -> str:
        with translated(f"looking for image {image}", service=service.name):
            here = self._has(image)
        if here and service.pull_policy != "always":
            return image
        if service.pull_policy == "never":
            message = (
                f"Image '{image}' of service '{service.name}' is not on the engine, "
                "and its pull_policy is never."
            )
            raise EnvironmentFailedError(message, kind=FailureKind.IMAGE_MISSING, service=service.name)
        return self._pulled(service, image)

    def _pulled(self, service: ServiceSpec, image: str) -> str:
        there = mirrored(image, self._mirror)
        name, tag = _name_and_tag(there)
        failed = ""
        try:
            # Read to the end even after an error: an answer left half read keeps its connection open.
            for said in self._stream_api.pull(
                name, tag=tag, platform=service.platform, stream=True, decode=True
            ):
                failed = failed or str(said.get("error", ""))
        except APIError as error:
            raise _not_pulled(service, there, explanation(error)) from error
        if failed:
            raise _not_pulled(service, there, failed)
        return self._named(there, image)

    def _named(self, there: str, image: str) -> str:
        """Give what a mirror had the name that the file uses; one with a digest can only keep the mirror's."""
        if there == image or "@" in image:
            return there
        name, tag = _name_and_tag(image)
        with translated(f"naming image {image}"):
            self._api.tag(there, name, tag)
        return image

    def _built(self, service: ServiceSpec, build: Build, instance: str) -> str:
        with tempfile.TemporaryFile() as packed:
            try:
                content = _packed_context(build, packed)
            except OSError as error:
                message = f"The build context of service '{service.name}' cannot be read: {error}"
                raise EnvironmentFailedError(
                    message, kind=FailureKind.BUILD_FAILED, service=service.name
                ) from error
            tag = f"{REPOSITORY}:{self._address(build, content)}"
            with self._turns[tag]:
                with translated(f"looking for image {tag}", service=service.name):
                    here = self._has(tag)
                if not here or build.no_cache:
                    packed.seek(0)
                    self._build(service, build, tag, packed, instance)
        return tag

    def _address(self, build: Build, content: str) -> str:
        """What the image depends on, as a hash: context, options, and the bases that stand on this engine."""
        parts = {
            "context": content,
            "dockerfile": build.dockerfile,
            "inline": build.dockerfile_inline,
            "args": dict(sorted(build.args.items())),
            "target": build.target,
            "labels": dict(sorted(build.labels.items())),
            "bases": [self._base_id(base) for base in _bases(build)],
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _base_id(self, base: str) -> str:
        try:
            return str(self._inspect(base)["Id"])
        except APIError:
            return base

    def _build(self, service: ServiceSpec, build: Build, tag: str, packed: IO[bytes], instance: str) -> None:
        labels = dict(build.labels) | {INSTANCE: instance}
        said: list[str] = []
        try:
            steps = (
                _with_buildx(build, tag, labels, packed)
                if has_buildx()
                else _classic(self._stream_api, build, tag, labels, packed)
            )
            for line in steps:
                said.append(line)
                del said[:-LOG_TAIL_LINES]
        except (BuildError, APIError, subprocess.SubprocessError) as error:
            reason = explanation(error) if isinstance(error, APIError) else str(error)
            raise _not_built(service, reason, said) from error


def _not_pulled(service: ServiceSpec, image: str, said: str) -> EnvironmentFailedError:
    is_limited = bool(RATE_LIMIT.search(said))
    mend = (
        "The registry gives out no more for now: sign the engine in there, or name a mirror in"
        " ITDASH_IMAGE_MIRROR. Nothing is wrong with the file."
        if is_limited
        else f"Build or load it on the engine (`docker pull {image}`), or correct the name."
    )
    message = (
        f"Image '{image}' of service '{service.name}' is not on the engine and cannot be pulled: "
        f"{said.rstrip('.')}. {mend}"
    )
    kind = FailureKind.RATE_LIMITED if is_limited else FailureKind.IMAGE_MISSING
    return EnvironmentFailedError(message, kind=kind, service=service.name)


def _not_built(service: ServiceSpec, reason: str, said: list[str]) -> EnvironmentFailedError:
    mend = (
        " The engine's classic builder was used; install the docker CLI with buildx beside itdash."
        if BUILDKIT_ONLY.search(reason) and not has_buildx()
        else ""
    )
    message = f"The image of service '{service.name}' could not be built: {reason.strip()}{mend}"
    evidence = Evidence(service=service.name, summary="build failed", log_tail=tuple(said))
    return EnvironmentFailedError(
        message, kind=FailureKind.BUILD_FAILED, service=service.name, evidence=(evidence,)
    )


@cache
def has_buildx() -> bool:
    """Say whether the docker CLI with its buildx plugin stands next to this process."""
    program = shutil.which("docker")
    if program is None:
        return False
    asked = subprocess.run(  # noqa: S603 - a fixed command
        [program, "buildx", "version"], capture_output=True, check=False, timeout=20
    )
    return asked.returncode == 0


def _classic(
    api: APIClient, build: Build, tag: str, labels: Mapping[str, str], packed: IO[bytes]
) -> Iterator[str]:
    stream = api.build(
        fileobj=packed,
        custom_context=True,
        dockerfile=_dockerfile_name(build),
        tag=tag,
        buildargs=dict(build.args),
        labels=dict(labels),
        target=build.target or "",
        nocache=build.no_cache,
        pull=build.pull,
        rm=True,
        forcerm=True,
        decode=True,
        timeout=BUILD_TIMEOUT_SECONDS,
    )
    failed = ""
    # Read to the end even after an error: an answer left half read keeps its connection open.
    for said in stream:
        failed = failed or str(said.get("error", ""))
        if line := str(said.get("stream", "")).strip():
            yield line
    if failed:
        raise BuildError(failed, iter(()))


def _with_buildx(build: Build, tag: str, labels: Mapping[str, str], packed: IO[bytes]) -> Iterator[str]:
    command = ["docker", "buildx", "build", "--load", "--progress=plain", "--tag", tag]
    command += ["--file", _dockerfile_name(build)]
    command += [word for name, value in build.args.items() for word in ("--build-arg", f"{name}={value}")]
    command += [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    command += ["--target", build.target] if build.target else []
    command += ["--no-cache"] if build.no_cache else []
    command += ["--pull"] if build.pull else []
    done = subprocess.run(  # noqa: S603 - no shell, and the words after options are values
        [*command, "-"],
        stdin=packed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT_SECONDS,
    )
    yield from done.stdout.splitlines()
    if done.returncode != 0:
        raise BuildError(done.stdout.strip().splitlines()[-1] if done.stdout else "no output", iter(()))


def _packed_context(build: Build, packed: IO[bytes]) -> str:
    """Pack the context with its ignore file honoured; return the hash of what is in it, times left out."""
    ignore = build.context / ".dockerignore"
    patterns = ignore.read_text().splitlines() if ignore.exists() else []
    name = _dockerfile_name(build)
    seen = hashlib.sha256()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(exclude_paths(str(build.context), _patterns(patterns), dockerfile=name)):
            _pack(archive, build.context / path, path, seen)
        outside = _dockerfile(build)
        if outside is not None:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(outside), 0o644
            archive.addfile(entry, io.BytesIO(outside))
            seen.update(outside)
    return seen.hexdigest()


def _pack(archive: tarfile.TarFile, source: Path, name: str, seen: hashlib._Hash) -> None:
    if source.is_socket():
        return
    entry = archive.gettarinfo(str(source), arcname=name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    # As Git would have checked it out: the image must not depend on this machine's umask.
    entry.mode = 0o755 if entry.isdir() or entry.mode & 0o111 else 0o644
    seen.update(f"{name}\0{entry.type!r}\0{entry.mode}\0{entry.linkname}\0{entry.size}\0".encode())
    if not entry.isreg():
        archive.addfile(entry)
        return
    with source.open("rb") as content:
        seen.update(hashlib.file_digest(content, "sha256").digest())
        content.seek(0)
        archive.addfile(entry, content)


def _patterns(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _dockerfile_name(build: Build) -> str:
    """The file's path in the context; a name of its own when it comes from elsewhere."""
    if build.dockerfile_inline is not None or _is_outside(build):
        return ".itdash.Dockerfile"
    return str((build.context / build.dockerfile).relative_to(build.context))


def _is_outside(build: Build) -> bool:
    path = build.context / build.dockerfile
    return not path.resolve().is_relative_to(build.context.resolve())


def _dockerfile(build: Build) -> bytes | None:
    """The Dockerfile's text when it is not a file of the context."""
    if build.dockerfile_inline is not None:
        return build.dockerfile_inline.encode()
    return (build.context / build.dockerfile).read_bytes() if _is_outside(build) else None


def _bases(build: Build) -> list[str]:
    """Images that the Dockerfile stands on, its arguments filled in as far as they are plain."""
    text = build.dockerfile_inline
    if text is None:
        path = build.context / build.dockerfile
        text = path.read_text(errors="replace") if path.exists() else ""
    arguments = {name: default or "" for name, default in ARGUMENT.findall(text)} | dict(build.args)
    filled = (
        re.sub(r"\$\{?(\w+)\}?", lambda found: arguments.get(found[1], found[0]), base)
        for base in FROM.findall(text)
    )
    return sorted(set(filled))


def _name_and_tag(image: str) -> tuple[str, str | None]:
    """Split a reference; a digest stays with the name, and no tag means latest, not all of them."""
    if "@" in image:
        return image, None
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "latest")
