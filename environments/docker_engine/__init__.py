"""The Docker engine: containers through the engine's HTTP API (Engine 20.10 or newer, API 1.41).

Only this package knows the SDK's words and errors. Containers are found by name and labels, networks by id
(20.10 lets two share a name), and everything carries its labels before it is started.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

import requests
from docker.api.client import APIClient
from docker.errors import APIError, NotFound

from environments.clamping import Ceiling
from environments.docker_engine import (
    answers,
    capabilities,
    copies,
    delivery,
    files,
    inside,
    last_check,
    listening,
    networks,
    partitions,
    payload,
    publishing,
    reaching,
    removal,
    room,
    streams,
    surroundings,
    usage,
)
from environments.docker_engine.capabilities import CALL_TIMEOUT_SECONDS, Trials
from environments.docker_engine.errors import is_conflict, translated
from environments.docker_engine.helper import Helper, HelperImage
from environments.docker_engine.images import Images
from environments.docker_engine.networks import address_here
from environments.docker_engine.ulimits import Ulimits
from environments.engine import (
    Capabilities,
    CollectedFile,
    EngineEvent,
    ExecResult,
    Feature,
    LogLine,
    Partition,
    Room,
    ServiceState,
    ServiceStatus,
    Usage,
    WayIn,
)
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import FENCE, EnvironmentRef, labels_for
from environments.spec import EMPTY, EnvironmentSpec, HealthCheck, ServiceSpec
from environments.subnets import Pool

OUTPUT_LIMIT_BYTES = 64 * 1024


class DockerEngine:
    """Runs services as containers. `base_url` empty: as the docker command line would find the engine."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        subnet_pool: Pool | None = None,
        limits: payload.Limits | None = None,
        image_mirror: str = "",
        helper_image: HelperImage | None = None,
    ) -> None:
        self._base_url, self._image_mirror = base_url, image_mirror
        self._subnet_pool = subnet_pool or Pool()
        self._limits = limits or payload.Limits()
        self._closer = streams.StreamCloser()
        self._connecting = threading.Lock()
        self._client: APIClient | None = None
        self._publishing = publishing.Publishing()
        self._said: Mapping[str, Any] = {}
        self._tried: tuple[Feature, ...] | None = None
        self._helper_image = helper_image or HelperImage()
        #: What an environment's services run: a build context is read once, however many services share it.
        self._image_names: dict[tuple[str, str, str], str] = {}
        self._image_turns: defaultdict[tuple[str, str, str], threading.Lock] = defaultdict(threading.Lock)

    @property
    def name(self) -> str:
        """``docker``."""
        return "docker"

    # --- the engine itself ------------------------------------------------------------------------------

    @property
    def _api(self) -> APIClient:
        """The client, connected on first use, once, whichever thread comes first."""
        with self._connecting:
            if self._client is None:
                self._client, self._said = capabilities.connected(self._base_url)
            return self._client

    @cached_property
    def _images(self) -> Images:
        return Images(self._api, self._api, mirror=self._image_mirror)

    @cached_property
    def _ulimits(self) -> Ulimits:
        return Ulimits(self._api, self._images.empty)

    @cached_property
    def _helper(self) -> Helper:
        return Helper(self._api, self._images, self._helper_image)

    @cached_property
    def _api_version(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self._api.api_version.split("."))

    @cached_property
    def _info(self) -> dict[str, Any]:
        with translated("asking what the engine is"):
            info: dict[str, Any] = self._api.info()
        return info

    @cached_property
    def _clock_offset(self) -> timedelta:
        """How far the engine's clock is ahead of ours; asked once, for it is a slow question."""
        with translated("asking the engine's time"):
            before = datetime.now(tz=UTC)
            there = datetime.fromisoformat(self._api.info()["SystemTime"])
        # Rather a little early: an environment's name is its own, so nothing older can be heard.
        return there - before - timedelta(seconds=1)

    @cached_property
    def _own_container(self) -> str | None:
        with translated("looking for our own container"):
            return networks.own_container(self._api)

    def capabilities(self) -> Capabilities:
        """Say what the engine is; asks it anew whether it answers."""
        with translated("asking whether the engine answers"):
            self._api.ping()
        return capabilities.described(self._said, self._info, self._api_version, self._helper_image)

    def examined(self, instance: str) -> Capabilities:
        """The same with what only trying tells; tried once, with objects that are gone when this returns."""
        known = self.capabilities()
        if self._tried is None:
            self._tried = Trials(self._api, self._images, self._helper).features(instance)
        return replace(known, features=known.features + self._tried)

    def ceiling(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> Ceiling:
        """What the engine has, and which ulimits of the spec it may not set: tried out, once for each."""
        refused = self._ulimits.refused(environment, spec)
        return Ceiling(float(self._info["NCPU"]), int(self._info["MemTotal"]), refused)

    def room(self) -> Room:
        """Subnets of the pool, and the engine's disk where this process can see it."""
        with translated("asking how much room is left"):
            root = str(self._info.get("DockerRootDir") or "")
            return room.measured(self._api, self._subnet_pool, root, lambda: self._own_container)

    def close(self) -> None:
        """Give the connections back; the engine can be used again and connects anew."""
        with self._connecting:
            if self._client is not None:
                self._client.close()
                self._client = None
                self.__dict__.pop("_images", None)
                self.__dict__.pop("_helper", None)
                self.__dict__.pop("_ulimits", None)

    # --- creating ---------------------------------------------------------------------------------------

    def prepare_image(self, environment: EnvironmentRef, service: ServiceSpec) -> str:
        """Find, pull or build the service's image."""
        key = (environment.name, repr(service.build or service.image), service.pull_policy)
        with self._image_turns[key]:
            if key not in self._image_names:
                self._image_names[key] = self._images.prepare(service, environment.instance)
            return self._image_names[key]

    def create_environment(self, environment: EnvironmentRef, spec: EnvironmentSpec) -> None:
        """Create networks and volumes, and fill the volumes that hold folders of the checkout."""
        with translated("creating the environment's networks and volumes"):
            for network in spec.networks.values():
                networks.create_network(self._api, environment, network, self._subnet_pool)
            for volume in spec.volumes.values():
                self._create_volume(payload.volume_name(environment, volume.name), environment, volume.labels)
            if copies.bound_folders(spec):
                copies.copy_folders(self._api, environment, spec, self._images.empty())

    def create_service(
        self, environment: EnvironmentRef, spec: EnvironmentSpec, service: ServiceSpec
    ) -> None:
        """Create the container, join its networks and copy its files in; adopt one that is there already."""
        image = self.prepare_image(environment, service)
        service = surroundings.with_shared_files(spec, service)
        with translated(f"creating service '{service.name}'", service=service.name):
            ids = networks.network_ids(self._api, environment)
            config = payload.container_config(
                environment,
                service,
                image=image,
                networks=ids,
                copied_folders=frozenset(copies.bound_folders(spec)),
                api=self._api_version,
                cpus=int(self._info["NCPU"]),
                limits=self._limits,
            )
            host = config["HostConfig"] | payload.granted(service, spec.grants) | payload.weight(spec)
            config["HostConfig"] = host | {"Ulimits": self._ulimits.granted(environment, host["Ulimits"])}
            surroundings.add_to(config, environment, spec, service)
            mounts = delivery.with_places(config["HostConfig"]["Mounts"], environment, service)
            config["HostConfig"]["Mounts"] = mounts
            config["HostConfig"] = capabilities.without_unknown(config["HostConfig"], self._info)
            last_check.refuse_danger(config, environment, service, networks=ids, grants=spec.grants)
            self._create_container(environment, service, config)
            if service.network_mode is None:
                self._join_networks(environment, service, ids)
            delivery.deliver(self._api, environment, service)
            self._publishing.note(environment, service)

    def _create_volume(
        self, name: str, environment: EnvironmentRef, extra: Mapping[str, str] = EMPTY
    ) -> None:
        self._api.create_volume(name, labels=dict(extra) | labels_for(environment))

    def _create_container(
        self, environment: EnvironmentRef, service: ServiceSpec, config: dict[str, Any]
    ) -> None:
        name = payload.container_name(environment, service.name)
        try:
            copies.create(self._api, config, name, service.platform)
        except APIError as error:
            if not is_conflict(error):
                raise
            self._adopt(environment, service.name)

    def _adopt(self, environment: EnvironmentRef, service: str) -> None:
        """Take a container of that name as ours if this very try made it: the answer to a retried create."""
        facts = self._api.inspect_container(payload.container_name(environment, service))
        if facts["Config"]["Labels"].get(FENCE) != str(environment.fence):
            message = f"A container named like service '{service}' is there already and is not of this try."
            raise EnvironmentFailedError(message, kind=FailureKind.INTERNAL, service=service)

    def _join_networks(
        self, environment: EnvironmentRef, service: ServiceSpec, ids: Mapping[str, str]
    ) -> None:
        """Join all networks but the first, which the create call gave: before API 1.44 it takes only one."""
        if self._api_version >= payload.API_WITH_MANY_NETWORKS:
            return
        name = payload.container_name(environment, service.name)
        for key in [key for key in service.networks if key in ids][1:]:
            networks.connect(self._api, name, ids[key], aliases=payload.aliases(service, key))

    # --- changing ---------------------------------------------------------------------------------------

    def start_service(self, environment: EnvironmentRef, service: str) -> None:
        """Start the container; what keeps it from starting is raised with its kind."""
        self._do("starting", environment, service, partial(self._publishing.start, start=self._api.start))

    def stop_service(self, environment: EnvironmentRef, service: str, *, grace_seconds: float = 10.0) -> None:
        """Ask the container to end, kill it after the grace."""
        self._do("stopping", environment, service, self._api.stop, timeout=round(grace_seconds))

    def kill_service(self, environment: EnvironmentRef, service: str, *, signal: str = "SIGKILL") -> None:
        """Send a signal to the container's first process; one that is not running stays as it is."""
        self._do("killing", environment, service, self._api.kill, signal=signal)

    def pause_service(self, environment: EnvironmentRef, service: str) -> None:
        """Freeze the container; already frozen is fine."""
        self._do("pausing", environment, service, self._api.pause)

    def unpause_service(self, environment: EnvironmentRef, service: str) -> None:
        """Let the container go on; not frozen is fine."""
        self._do("unpausing", environment, service, self._api.unpause)

    def disconnect_service(self, environment: EnvironmentRef, service: str) -> Mapping[str, str]:
        """Take the container off the environment's networks; its own loopback stays."""
        with translated(f"disconnecting service '{service}'", service=service):
            name = payload.container_name(environment, service)
            return networks.disconnect(self._api, environment, name)

    def connect_service(
        self, environment: EnvironmentRef, service: ServiceSpec, addresses: Mapping[str, str]
    ) -> None:
        """Put the container back; names and, where it is free, the address are the ones it had."""
        with translated(f"connecting service '{service.name}'", service=service.name):
            name = payload.container_name(environment, service.name)
            ids = networks.network_ids(self._api, environment)
            for key, address in addresses.items():
                aliases = payload.aliases(service, key)
                networks.connect(self._api, name, ids[key], aliases=aliases, address=address)

    def partition_service(self, environment: EnvironmentRef, service: str, partition: Partition) -> None:
        """Put rules into the service's network by a helper, and see that they are there."""
        partitions.apply(self._api, self._helper, environment, service, partition)

    def heal_service(self, environment: EnvironmentRef, service: str, partition: Partition) -> bool:
        """Take them away again; False when they were gone although the service runs."""
        return partitions.undo(self._api, self._helper, environment, service, partition)

    def _do(
        self,
        doing: str,
        environment: EnvironmentRef,
        service: str,
        call: Callable[..., None],
        **options: float | str,
    ) -> None:
        with translated(f"{doing} service '{service}'", service=service):
            try:
                call(payload.container_name(environment, service), **options)
            except NotFound as error:
                if "no such container" not in str(error.explanation).lower():
                    raise
                raise answers.unknown(environment, service) from error
            except APIError as error:
                if not answers.is_so_already(error):
                    raise

    # --- looking ----------------------------------------------------------------------------------------

    def inspect_service(self, environment: EnvironmentRef, service: str) -> ServiceState:
        """Say how the container is; `GONE` when there is none."""
        facts = self._facts(environment, service)
        return ServiceState(service, ServiceStatus.GONE) if facts is None else answers.state(service, facts)

    def healthcheck(self, environment: EnvironmentRef, service: str) -> HealthCheck | None:
        """Return the check that the container has, the image's own included."""
        facts = self._facts(environment, service)
        return None if facts is None else payload.healthcheck_from(facts["Config"].get("Healthcheck"))

    def _facts(self, environment: EnvironmentRef, service: str) -> dict[str, Any] | None:
        with translated(f"looking at service '{service}'", service=service):
            try:
                facts: dict[str, Any] = self._api.inspect_container(
                    payload.container_name(environment, service)
                )
            except NotFound:
                return None
        return facts

    def way_in(self, environment: EnvironmentRef, service: ServiceSpec) -> WayIn:
        """Commands of the docker command line, for the engine as this process found it."""
        facts = self._facts(environment, service.name)
        return inside.way_in(environment, service, facts, self._base_url)

    def execute(
        self,
        environment: EnvironmentRef,
        service: str,
        command: Sequence[str],
        *,
        timeout_seconds: float,
        variables: Mapping[str, str] = EMPTY,
    ) -> ExecResult:
        """Run a command in the container.

        The engine cannot end a command; one that overruns is left to the container's end and reported.
        """
        ends = threading.Event()
        timer = threading.Timer(timeout_seconds, ends.set)
        with translated(f"running a command in service '{service}'", service=service):
            try:
                created = self._api.exec_create(
                    payload.container_name(environment, service),
                    list(command),
                    environment=dict(variables) or None,
                )
                timer.start()
                text = self._output(created["Id"], ends)
                code = self._api.exec_inspect(created["Id"])["ExitCode"]
            except APIError as error:
                return answers.not_executed(error, service)
            finally:
                timer.cancel()
        if code is None:
            return ExecResult(exit_code=-1, output=text, timed_out=ends.is_set())
        return ExecResult(exit_code=answers.exit_code(code, text), output=text)

    def _output(self, exec_id: str, ends: threading.Event) -> str:
        response = self._api.post(
            f"{self._url}/exec/{exec_id}/start",
            json={"Detach": False, "Tty": False},
            stream=True,
            timeout=None,
        )
        with self._closer.watching(response, ends.is_set):
            answers.raise_for(response)
            data = streams.chunks(response, ends.is_set)
            return streams.output(streams.frames(data), OUTPUT_LIMIT_BYTES)

    def reach(self, environment: EnvironmentRef, service: str, port: int) -> tuple[str, int] | None:
        """The container's own address, where a network of it is ours too."""
        with translated(f"looking for the address of service '{service}'", service=service):
            name = payload.container_name(environment, service)
            address = reaching.address_of(self._api, name, lambda: self._own_container)
        return (address, port) if address else None

    def logs(
        self,
        environment: EnvironmentRef,
        service: str,
        *,
        since: datetime | None = None,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> Iterator[LogLine]:
        """Whole lines with the engine's stamps; with `follow` until the container ends or `stop` is set."""
        name = payload.container_name(environment, service)
        over = (stop or threading.Event()).is_set
        query: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": int(follow)}
        if since is not None:
            query["since"] = answers.seconds(since)
        facts = self._facts(environment, service)
        if facts is None:
            raise answers.unknown(environment, service)
        with translated(f"reading the log of service '{service}'", service=service):
            response = self._api.get(
                f"{self._url}/containers/{name}/logs", params=query, stream=True, timeout=None
            )
            with self._closer.watching(response, over):
                if response.status_code == requests.codes.not_found:
                    return
                answers.raise_for(response)
                data = streams.chunks(response, over)
                split = streams.terminal_frames if facts["Config"]["Tty"] else streams.frames
                for line in streams.log_lines(service, split(data)):
                    if over():
                        return
                    yield line

    def usage(self, environment: EnvironmentRef, service: str, *, stop: threading.Event) -> Iterator[Usage]:
        """The engine's own samples, one a second, by one stream over all starts of the container."""
        name = payload.container_name(environment, service)
        most = int(self._info["MemTotal"])
        with translated(f"measuring service '{service}'", service=service):
            response = self._api.get(f"{self._url}/containers/{name}/stats", stream=True, timeout=None)
            with self._closer.watching(response, stop.is_set):
                if response.status_code == requests.codes.not_found:
                    return
                answers.raise_for(response)
                yield from usage.samples(streams.chunks(response, stop.is_set), most)

    def events(self, environment: EnvironmentRef, *, stop: threading.Event) -> Iterator[EngineEvent]:
        """Events from now on; a stream that breaks is taken up again where it broke."""
        since = int((datetime.now(tz=UTC) + self._clock_offset).timestamp() * 1e9)
        return listening.events(self._api, self._closer, environment, since, stop)

    def collect(
        self, environment: EnvironmentRef, service: str, patterns: Sequence[str]
    ) -> Iterator[CollectedFile]:
        """Stream matching files out of the container, running or ended."""
        container = f"{self._url}/containers/{payload.container_name(environment, service)}"

        def opened(path: str) -> AbstractContextManager[requests.Response | None]:
            return copies.opened_archive(self._api, container, path, timeout_seconds=CALL_TIMEOUT_SECONDS)

        with translated(f"collecting files from service '{service}'", service=service):
            yield from files.collected(opened, patterns)

    def host_address(self, environment: EnvironmentRef, networks: Sequence[str] = ()) -> str:
        """The gateway of the environment's network; in a container ourselves, our own address there."""
        return address_here(self._api, environment, networks, lambda: self._own_container)

    # --- removing ---------------------------------------------------------------------------------------

    def remove_environment(self, environment: EnvironmentRef) -> list[str]:
        """Remove containers in parallel, then networks, then volumes; return what is still there."""
        with translated(f"removing environment {environment.name}"):
            left = removal.remove(self._api, environment)
        self._publishing.forget(environment)
        for key in [key for key in list(self._image_names) if key[0] == environment.name]:
            self._image_names.pop(key, None)
            self._image_turns.pop(key, None)
        return left

    def environments(self, instance: str) -> list[EnvironmentRef]:
        """Every environment of which a container, a network or a volume exists."""
        with translated("listing what is ours"):
            return removal.environments(self._api, instance)

    @property
    def _url(self) -> str:
        return f"{self._api.base_url}/v{self._api.api_version}"
