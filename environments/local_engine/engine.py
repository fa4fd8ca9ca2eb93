"""`LocalEngine`: the Engine protocol over processes. Everything it knows is on disk (see `folders`)."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil

from environments.clamping import Ceiling
from environments.engine import (
    Capabilities,
    CollectedFile,
    EngineEvent,
    EngineEventKind,
    ExecResult,
    LogLine,
    Partition,
    Room,
    ServiceState,
    ServiceStatus,
    Usage,
    WayIn,
)
from environments.errors import EnvironmentFailedError, Evidence, FailureKind, ServiceNotFoundError
from environments.labels import EnvironmentRef
from environments.local_engine import entering, keeper, ports, processes, programs, reading, usage
from environments.local_engine.collecting import collect
from environments.local_engine.executing import run_command
from environments.local_engine.folders import (
    EnvironmentFolder,
    Program,
    ServiceFolder,
    State,
    environment_folders,
)
from environments.local_engine.health import HealthWatch
from environments.local_engine.readiness import ask
from environments.local_engine.rewriting import Rewriting
from environments.probes import probe_command
from environments.spec import EMPTY, EnvironmentSpec, HealthCheck, ServiceSpec

LOOPBACK = "127.0.0.1"
#: How long the keeper may take to say that the service was started, in seconds.
START_SECONDS = 30.0
#: How long something killed may take to be gone, in seconds.
END_SECONDS = 10.0
#: How long its folder is tried to be removed, in seconds, while what was being started still writes.
REMOVAL_SECONDS = 3.0
LOG_TAIL_LINES = 50
LIMITS = {
    "isolation": "Services are processes of the account itdash runs as: use it for suites you trust.",
    "networks": "There are none: services listen on 127.0.0.1 and reach each other and the internet.",
    "disconnect": "There are no networks to take a service off.",
    "partition": "There are no networks to keep services from each other in.",
    "images": "There are none: a service runs its own command, or a preset's program (postgres, valkey).",
    "resources": "Memory, processor and process limits of the file are not applied.",
    "out_of_memory": "A process killed for lack of memory is seen as exit code 137, without its reason.",
    "users": "`user`, `cap_add`, `cap_drop`, `read_only`, `ulimits` and `extra_hosts` are not applied.",
    "egress": "`x-itdash.egress: none` is not applied: processes share this machine's network.",
    "mounts": "A bind mount is the checkout's own folder, and read-only is not enforced.",
}

logger = logging.getLogger(__name__)


class LocalEngine:
    """Runs services as processes below `root`, a private folder that several processes may share."""

    name = "local"

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self._locks: dict[tuple[str, str], threading.RLock] = defaultdict(threading.RLock)

    # --- what it is -------------------------------------------------------------------------------

    def capabilities(self) -> Capabilities:
        """Say what this machine is. Raises ENGINE_UNAVAILABLE where processes cannot be kept."""
        if os.name != "posix":
            message = "The local engine needs Linux or macOS; install a container engine."
            raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE)
        return Capabilities(
            engine=self.name,
            version=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
            cpus=os.cpu_count() or 1,
            memory_bytes=psutil.virtual_memory().total,
            limits=LIMITS,
        )

    def ceiling(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> Ceiling:
        """Limits of files are not applied here, so nothing is lowered."""
        del environment, spec
        return Ceiling()

    def room(self) -> Room:
        """The disk that the environments' folders are on."""
        folder = next(folder for folder in (self._root, *self._root.parents) if folder.exists())
        return Room(disk_free_bytes=shutil.disk_usage(folder).free)

    def host_address(self, environment: EnvironmentRef, networks: Sequence[str] = ()) -> str:
        """The loopback address: services and this process share it."""
        del environment, networks
        return LOOPBACK

    # --- making -----------------------------------------------------------------------------------

    def prepare_image(self, environment: EnvironmentRef, service: ServiceSpec) -> str:
        """Say what will run in place of an image. Raises IMAGE_MISSING when nothing can."""
        del environment
        return programs.program_title(service)

    def create_environment(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> None:
        """Make the private folder with its labels and choose every service's ports."""
        folder = self._folder(environment)
        folder.create(environment)
        for volume in spec.volumes:
            programs.volume_place(folder, volume).mkdir(exist_ok=True)
        ports.choose_ports(self._root, folder, ports.wanted_ports(spec, programs.preset_ports(spec)))

    def create_service(
        self, environment: EnvironmentRef, spec: EnvironmentSpec, service: ServiceSpec
    ) -> None:
        """Write down what runs, with names, ports and paths made true for this machine."""
        folder = self._folder(environment)
        if folder.labels() is None:
            raise _failed(
                f"Environment {environment.name} was not created.", FailureKind.INTERNAL, service.name
            )
        with self._locks[environment.name, service.name]:
            own = folder.service(service.name)
            if own.program() is not None:
                return
            final = _with(spec, service)
            wanted = ports.wanted_ports(final, programs.preset_ports(final))
            ports.choose_ports(self._root, folder, wanted)
            program = programs.program_for(environment, folder, final, service)
            own.create(program)
            programs.give_files(own.path, service)
            programs.make_places(own, program)
            folder.tell(service.name, EngineEventKind.CREATED)

    def start_service(self, environment: EnvironmentRef, service: str) -> None:
        """Start its keeper; return when that has started the program. Raises PORT, SERVICE_EXITED."""
        with self._locks[environment.name, service]:
            folder, own, program = self._known(environment, service)
            if reading.runs(own.state()):
                return
            for container_port, port in program.own_ports.items():
                if not ports.is_free(port):
                    message = (
                        f"Port {port} of this machine, chosen for port {container_port} of '{service}', is"
                        " used by another program by now. Run the suite again: another one will be chosen."
                    )
                    raise _failed(message, FailureKind.PORT, service)
            own.allow_restarts()
            self._start(folder, own, program)

    def _start(self, folder: EnvironmentFolder, own: ServiceFolder, program: Program) -> None:
        with (own.path / "keeper.log").open("ab") as complaints:
            process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-I", "-S", keeper.__file__, str(own.path)],
                cwd=own.path,
                env={processes.FOLDER_VARIABLE: str(folder.path)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                start_new_session=True,
            )
        answer = reading.answer_of(process, seconds=START_SECONDS)
        watch = HealthWatch(own, program, tell=folder.tell, probe=lambda: self._probe(own, program))
        if answer is None or "error" in answer:
            process.kill()
            process.wait()
            raise self._did_not_start(own, answer)
        # The thread also waits for the keeper, so that its end leaves no zombie.
        threading.Thread(
            target=watch.run, args=(process,), name=f"watch-{program.service}", daemon=True
        ).start()

    def _did_not_start(
        self, own: ServiceFolder, answer: Mapping[str, object] | None
    ) -> EnvironmentFailedError:
        reason = str(answer["error"]) if answer else (own.path / "keeper.log").read_text()[-2000:]
        state = own.state()
        evidence = Evidence(
            service=own.name,
            summary=reason,
            exit_code=state.exit_code if state else None,
            log_tail=tuple(line.text for line in reading.tail(own, LOG_TAIL_LINES)),
        )
        return EnvironmentFailedError(
            f"Service '{own.name}' could not be started: {reason}. Check `command` and `working_dir`, or say"
            " what runs on this machine with 'x-itdash: {local: {command: …}}'.",
            kind=FailureKind.SERVICE_EXITED,
            service=own.name,
            evidence=(evidence,),
        )

    # --- changing ---------------------------------------------------------------------------------

    def stop_service(self, environment: EnvironmentRef, service: str, *, grace_seconds: float = 10.0) -> None:
        """Send its stop signal, then end its whole tree; returns when its keeper has written that down."""
        with self._locks[environment.name, service]:
            _, own, program = self._known(environment, service)
            state = own.state()
            if state is None or not reading.runs(state):
                return
            own.tell_to_stop()
            self._send(state, program.stop_signal)
            processes.thaw(state.keeper)
            if not processes.wait_for(lambda: not reading.runs(state), seconds=grace_seconds):
                processes.kill(processes.tree(state.keeper))
                self._await_end(own, state)

    def kill_service(self, environment: EnvironmentRef, service: str, *, signal: str = "SIGKILL") -> None:
        """Send the signal to its main process; SIGKILL returns when all of it is gone."""
        with self._locks[environment.name, service]:
            _, own, _ = self._known(environment, service)
            state = own.state()
            if state is None or not reading.runs(state):
                return
            is_final = signal in {"SIGKILL", "KILL", "9"}
            if is_final:
                own.tell_to_stop()
            self._send(state, signal)
            if is_final:
                self._await_end(own, state)

    def pause_service(self, environment: EnvironmentRef, service: str) -> None:
        """Freeze its whole tree."""
        with self._locks[environment.name, service]:
            folder, own, _ = self._known(environment, service)
            state = self._running(own)
            if not processes.freeze(state.keeper, seconds=END_SECONDS):
                raise _failed(f"Service '{service}' did not freeze.", FailureKind.INTERNAL, service)
            folder.tell(service, EngineEventKind.PAUSED)

    def unpause_service(self, environment: EnvironmentRef, service: str) -> None:
        """Let its whole tree go on."""
        with self._locks[environment.name, service]:
            folder, own, _ = self._known(environment, service)
            processes.thaw(self._running(own).keeper)
            folder.tell(service, EngineEventKind.UNPAUSED)

    def disconnect_service(self, environment: EnvironmentRef, service: str) -> Mapping[str, str]:
        """Raise UNSUPPORTED."""
        self._known(environment, service)
        raise _failed(LIMITS["disconnect"], FailureKind.UNSUPPORTED, service)

    def connect_service(
        self, environment: EnvironmentRef, service: ServiceSpec, addresses: Mapping[str, str]
    ) -> None:
        """Do nothing: no service was taken off a network."""

    def partition_service(self, environment: EnvironmentRef, service: str, partition: Partition) -> None:
        """Raise UNSUPPORTED."""
        del partition
        self._known(environment, service)
        raise _failed(LIMITS["partition"], FailureKind.UNSUPPORTED, service)

    def heal_service(self, environment: EnvironmentRef, service: str, partition: Partition) -> bool:
        """Do nothing: no service was kept from another."""
        del environment, service, partition
        return True

    def _send(self, state: State, name: str) -> None:
        number = int(name) if name.isdecimal() else signal.Signals[_signal_name(name)]
        process = state.main.process() if state.main else None
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def _await_end(self, own: ServiceFolder, state: State) -> None:
        if not processes.wait_for(lambda: not reading.runs(state), seconds=END_SECONDS):
            raise _failed(f"Service '{own.name}' does not end.", FailureKind.INTERNAL, own.name)

    # --- looking ----------------------------------------------------------------------------------

    def inspect_service(self, environment: EnvironmentRef, service: str) -> ServiceState:
        """Say how it is, from what its keeper wrote and from the processes themselves."""
        own = self._folder(environment).service(service)
        program = own.program()
        if program is None:
            return ServiceState(service=service, status=ServiceStatus.GONE)
        return reading.service_state(own, program)

    def healthcheck(self, environment: EnvironmentRef, service: str) -> HealthCheck | None:
        """The file's check, or for a preset's program a question of our own, which `execute` answers."""
        return self._known(environment, service)[2].healthcheck

    def execute(
        self,
        environment: EnvironmentRef,
        service: str,
        command: Sequence[str],
        *,
        timeout_seconds: float,
        variables: Mapping[str, str] = EMPTY,
    ) -> ExecResult:
        """Run a command with the service's environment, in its working folder, its words made true too."""
        folder, own, program = self._known(environment, service)
        self._running(own)
        if not variables and program.healthcheck and list(command) == probe_command(program.healthcheck):
            # A probe is a probe, whoever asks: its answer counts for the service's health.
            watch = HealthWatch(own, program, tell=folder.tell, probe=lambda: self._probe(own, program))
            return watch.note(self._run(own, program, command, timeout_seconds, variables))
        return self._run(own, program, command, timeout_seconds, variables)

    def _probe(self, own: ServiceFolder, program: Program) -> ExecResult:
        assert program.healthcheck is not None  # noqa: S101 - asked only where there is one
        check = program.healthcheck
        return self._run(own, program, probe_command(check), check.timeout_seconds, EMPTY)

    def _run(
        self,
        own: ServiceFolder,
        program: Program,
        command: Sequence[str],
        timeout_seconds: float,
        variables: Mapping[str, str],
    ) -> ExecResult:
        if list(command) == [programs.READY] and program.preset:
            return ask(own, program, timeout_seconds=timeout_seconds)
        words = Rewriting(program.addresses, program.own_ports, program.paths)
        return run_command(
            programs.python_is_ours(words.words(command)),
            cwd=program.cwd,
            environment={**program.environment, **words.variables(variables)},
            timeout_seconds=timeout_seconds,
        )

    def way_in(self, environment: EnvironmentRef, service: ServiceSpec) -> WayIn:
        """Its folder, its ports on this machine, and a shell with its environment."""
        _, own, program = self._known(environment, service.name)
        return entering.way_in(own, program)

    def reach(self, environment: EnvironmentRef, service: str, port: int) -> tuple[str, int] | None:
        """This machine's loopback, and the port chosen for the service's."""
        own_ports = self._known(environment, service)[2].own_ports
        return LOOPBACK, own_ports.get(str(port), port)

    def logs(
        self,
        environment: EnvironmentRef,
        service: str,
        *,
        since: datetime | None = None,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[LogLine]:
        """Whole lines from the keeper's log; with `follow` until the service ends or `stop` is set."""
        own = self._known(environment, service)[1]
        return reading.log_lines(own, since=since, follow=follow, stop=stop or threading.Event())

    def usage(self, environment: EnvironmentRef, service: str, *, stop: threading.Event) -> Iterator[Usage]:
        """What its processes use together, measured here once a second."""
        return usage.samples(self._folder(environment).service(service), stop)

    def events(self, environment: EnvironmentRef, *, stop: threading.Event) -> Iterator[EngineEvent]:
        """Everything written from the moment of the call until `stop` is set."""
        return reading.events(self._folder(environment), stop=stop)

    def collect(
        self, environment: EnvironmentRef, service: str, patterns: Sequence[str]
    ) -> Iterator[CollectedFile]:
        """Files of the service under the paths the suite knows them by."""
        _, own, program = self._known(environment, service)
        return collect(own, program, patterns)

    # --- removing ---------------------------------------------------------------------------------

    def remove_environment(self, environment: EnvironmentRef) -> list[str]:
        """Kill every process that belongs to it, however it hid, then delete its folder."""
        folder = self._folder(environment)

        def ended() -> bool:
            alive = self._processes(folder)
            processes.kill(alive)
            return not alive

        if not processes.wait_for(ended, seconds=END_SECONDS):
            return [f"process {process.pid} of {environment.name}" for process in self._processes(folder)]
        services = [own.name for own in folder.services()]
        for service in services:
            folder.tell(service, EngineEventKind.REMOVED)
        reasons: list[OSError] = []

        def removed() -> bool:
            try:
                folder.remove()
            except OSError as error:
                # One that was just being started says to whom it belongs only now, and may have written.
                reasons.append(error)
                processes.kill(self._processes(folder))
                return False
            return True

        if not processes.wait_for(removed, seconds=REMOVAL_SECONDS):
            logger.warning("environment %s: %s", environment.name, reasons[-1])
            return [f"folder {folder.path} ({reasons[-1]})"]
        for service in services:
            self._locks.pop((environment.name, service), None)
        return []

    def environments(self, instance: str) -> list[EnvironmentRef]:
        """Every environment of the installation whose folder, or a part of it, is still there."""
        found = (folder.labels() for folder in environment_folders(self._root))
        return [ref for ref in found if ref is not None and ref.instance == instance]

    def _processes(self, folder: EnvironmentFolder) -> list[psutil.Process]:
        """What hangs below the keepers first, then whatever says that it belongs to the folder, keepers
        included: a keeper that is killed before its service would leave orphans to be searched for."""
        states = [state for own in folder.services() if (state := own.state())]
        below = [process for state in states for process in processes.tree(state.keeper)]
        found = {process.pid: process for process in [*below, *processes.belonging_to(folder.path)]}
        return [process for process in found.values() if processes.is_alive(process)]

    # --- finding ----------------------------------------------------------------------------------

    def _folder(self, environment: EnvironmentRef) -> EnvironmentFolder:
        return EnvironmentFolder.of(self._root, environment.name)

    def _known(
        self, environment: EnvironmentRef, service: str
    ) -> tuple[EnvironmentFolder, ServiceFolder, Program]:
        folder = self._folder(environment)
        own = folder.service(service)
        program = own.program()
        if program is None:
            message = f"There is no service '{service}' in environment {environment.name}."
            raise ServiceNotFoundError(message)
        return folder, own, program

    def _running(self, own: ServiceFolder) -> State:
        state = own.state()
        if state is None or not reading.runs(state) or state.is_restarting:
            raise _failed(f"Service '{own.name}' does not run.", FailureKind.SERVICE_EXITED, own.name)
        return state


def _with(spec: EnvironmentSpec, service: ServiceSpec) -> EnvironmentSpec:
    """The spec with the service as it is to be created."""
    return EnvironmentSpec(
        services={**spec.services, service.name: service},
        networks=spec.networks,
        volumes=spec.volumes,
        directory=spec.directory,
        extension=spec.extension,
    )


def _signal_name(name: str) -> str:
    return name if name.startswith("SIG") else f"SIG{name}"


def _failed(message: str, kind: FailureKind, service: str) -> EnvironmentFailedError:
    return EnvironmentFailedError(message, kind=kind, service=service)
