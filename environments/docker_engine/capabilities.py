"""What this engine is and can do: asked and tried out once, and kept.

Engines of five years answer to one name. What differs between them is decided here, from what an engine says
of itself and, where it says nothing or cannot be believed, from trying.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import requests
from docker.api.client import APIClient
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

from environments.docker_engine import answers, copies, payload
from environments.docker_engine.builders import has_buildkit
from environments.docker_engine.errors import explanation, translated
from environments.docker_engine.helper import NOT_SET, Helper, HelperImage
from environments.docker_engine.images import Images
from environments.docker_engine.networks import knock
from environments.engine import Capabilities, Feature
from environments.errors import EnvironmentFailedError, FailureKind
from environments.labels import EnvironmentRef, labels_for

#: The engine answers in milliseconds; a start can take seconds on a loaded machine.
CALL_TIMEOUT_SECONDS: Final = 60
OLDEST_API: Final = (1, 41)
#: The newest whose changes since the oldest were held against what is sent and read here.
NEWEST_API: Final = (1, 52)
#: How long the objects of a trial may stay should this process end in the middle.
_TRIAL_SECONDS: Final = 120

_TRY: Final = r"""
say() { echo "$1 $2"; }
tried=no
rejected='-j REJECT --reject-with tcp-reset'
for tool in iptables iptables-legacy iptables-nft; do
  if command -v "$tool-restore" >/dev/null 2>&1 &&
    printf '%s\n' '*filter' ':ITDASH-try - [0:0]' "-A ITDASH-try -p tcp $rejected" COMMIT |
      "$tool-restore" --noflush -w 5 2>/dev/null && "$tool" -w 5 -S ITDASH-try 2>/dev/null | grep -q REJECT
  then tried=yes; break; fi
done
say iptables "$tried"
can() {
  name=$1; shift
  if tc qdisc add dev lo root "$@" 2>/dev/null; then say "$name" yes; tc qdisc del dev lo root 2>/dev/null
  else say "$name" no; fi
}
can netem netem delay 1ms
can tbf tbf rate 1mbit burst 10kb latency 50ms
can htb htb
say nofile "$(ulimit -H -n)"
"""
_NETWORK_TRIALS: Final = {
    "iptables": "services can be kept from each other",
    "netem": "packets can be delayed, lost and reordered",
    "tbf": "bandwidth can be limited",
    "htb": "bandwidth can be shared out",
}


def connected(base_url: str | None) -> tuple[APIClient, dict[str, Any]]:
    """Connect; return a client of the version to speak, and what the engine says of its own."""
    where = {"base_url": base_url} if base_url else kwargs_from_env()
    try:
        knock(where.get("base_url") or DEFAULT_UNIX_SOCKET)
        said = _asked(where)
        api = _client(where, negotiated(said))
    except (DockerException, requests.RequestException, OSError) as error:
        message = (
            f"No container engine answers ({answers.reason(error)}). Start it, or name it in "
            "DOCKER_HOST; `itdash doctor` says what was tried."
        )
        raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE) from error
    return api, said


def _asked(where: Mapping[str, Any]) -> dict[str, Any]:
    """The one question that needs no version."""
    asking = _client(where, _text(OLDEST_API))
    try:
        said: dict[str, Any] = asking.version(api_version=False)
    finally:
        asking.close()
    return said


def _client(where: Mapping[str, Any], version: str) -> APIClient:
    api = APIClient(**where, version=version, timeout=CALL_TIMEOUT_SECONDS, max_pool_size=128)
    # Looking for proxies in the environment anew for each call costs more than the call.
    api.trust_env = False
    return api


def negotiated(said: Mapping[str, Any]) -> str:
    """The version of the API to speak: the newest that both know. Raises ENGINE_UNAVAILABLE for none."""
    newest, oldest = _version(said.get("ApiVersion")), _version(said.get("MinAPIVersion"))
    chosen = min(newest, NEWEST_API)
    if chosen < OLDEST_API:
        message = (
            f"The engine ({_name(said)}) speaks API {_text(newest)}; {_text(OLDEST_API)} is needed (Docker"
            " Engine 20.10). Update the engine."
        )
    elif chosen < oldest:
        message = (
            f"The engine ({_name(said)}) refuses API versions below {_text(oldest)}; this itdash speaks up to"
            f" {_text(NEWEST_API)}. Update itdash."
        )
    else:
        return _text(chosen)
    raise EnvironmentFailedError(message, kind=FailureKind.ENGINE_UNAVAILABLE)


def described(
    said: Mapping[str, Any], info: Mapping[str, Any], api: tuple[int, ...], helper: HelperImage
) -> Capabilities:
    """What the engine says of itself, in our words."""
    limits = {}
    if not info.get("MemoryLimit", True):
        limits["memory"] = "The engine's kernel has no memory limits; services are not bounded."
    if not helper:
        limits["partition"] = f"{NOT_SET[0].upper()}{NOT_SET[1:]}."
    return Capabilities(
        engine="docker",
        version=str(info["ServerVersion"]),
        cpus=int(info["NCPU"]),
        memory_bytes=int(info["MemTotal"]),
        limits=limits,
        features=tuple(_features(said, info, api)),
    )


def _features(said: Mapping[str, Any], info: Mapping[str, Any], api: tuple[int, ...]) -> Iterable[Feature]:
    yield Feature("engine", is_there=True, text=f"{_name(said)}, {info.get('Architecture', '?')}")
    span = f"{said.get('MinAPIVersion') or '?'} to {said.get('ApiVersion')}"
    yield Feature("api", is_there=True, text=f"{_text(api)} is spoken; the engine knows {span}")
    cgroup = f"v{info.get('CgroupVersion') or 1}, by {info.get('CgroupDriver') or '?'}"
    yield Feature("cgroup", is_there=True, text=cgroup)
    rootless = any("name=rootless" in option for option in info.get("SecurityOptions") or ())
    yield Feature("rootless", rootless, "whoever breaks out is no root" if rootless else "it runs as root")
    yield _limit(info, "memory limits", "MemoryLimit", "a service can take all memory there is")
    yield _limit(info, "swap accounting", "SwapLimit", "a service at its limit may swap instead of failing")
    yield _limit(info, "processor limits", "CpuCfsQuota", "`cpus` of a file is not applied")
    yield _limit(info, "process limits", "PidsLimit", "`pids_limit` is not applied")
    storage = f"{info.get('Driver', '?')} on {_filesystem(info)}"
    yield Feature("storage", is_there=True, text=storage)
    since = _text(payload.API_WITH_START_INTERVAL)
    early = api >= payload.API_WITH_START_INTERVAL
    needed = f"takes API {since} (Docker Engine 25); itdash asks early by itself"
    yield Feature("start_interval", early, "sent to the engine" if early else needed)
    buildkit = has_buildkit(info)
    without = "only the classic builder: no `RUN --mount`, no here-documents"
    yield Feature("buildkit", buildkit, "the engine's own, for what needs it" if buildkit else without)


def _limit(info: Mapping[str, Any], name: str, key: str, without: str) -> Feature:
    is_there = bool(info.get(key, True))
    return Feature(name, is_there, "applied" if is_there else without)


def without_unknown(host: dict[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """A create call's `HostConfig` without what this engine's kernel would refuse the whole call for."""
    return host if info.get("CpuCfsQuota", True) else host | {"NanoCpus": 0}


class Trials:
    """What only trying tells. Every trial's objects are gone when it returns."""

    def __init__(self, api: APIClient, images: Images, helper: Helper) -> None:
        self._api = api
        self._images = images
        self._helper = helper

    def features(self, instance: str) -> tuple[Feature, ...]:
        """Try everything; what cannot be tried says why."""
        expires = int(time.time()) + _TRIAL_SECONDS
        name = f"itd-{secrets.token_hex(4)}-0"
        environment = EnvironmentRef(name, f"{instance}.trials", "trials", 0, expires)
        return (self._storage_quota(environment), *self._network(environment))

    def _storage_quota(self, environment: EnvironmentRef) -> Feature:
        """A container with a size of its own is created, and never started."""
        name = f"{environment.name}.quota"
        config = {
            "Image": self._images.empty(),
            "Cmd": ["never-started"],
            "Labels": labels_for(environment),
            "HostConfig": {"NetworkMode": "none", "StorageOpt": {"size": "64m"}},
        }
        with translated("trying a storage quota"):
            try:
                copies.create(self._api, config, name)
            except APIError as error:
                return Feature("storage quota", is_there=False, text=explanation(error))
            self._api.remove_container(name, force=True, v=True)
        return Feature("storage quota", is_there=True, text="a container can be given a size")

    def _network(self, environment: EnvironmentRef) -> Iterable[Feature]:
        """One helper in a network with nobody else in it tries all that faults are made of."""
        why = self._why_no_helper()
        if why:
            return [Feature("helper", is_there=False, text=why)]
        try:
            said = self._helper.run(environment, _TRY)
        except EnvironmentFailedError as error:
            return [Feature("helper", is_there=False, text=str(error))]
        return list(network_features(said.output))

    def _why_no_helper(self) -> str:
        if not self._helper.is_set:
            return f"not tried: {NOT_SET}"
        if not self._helper.is_there():
            return "not tried: the helper's image is pulled or built when the first fault asks for it"
        return ""


def network_features(output: str) -> Iterable[Feature]:
    """What a helper's trials came to, of what it printed."""
    found = dict(line.split(maxsplit=1) for line in output.splitlines() if len(line.split()) > 1)
    for name, good in _NETWORK_TRIALS.items():
        is_there = found.get(name) == "yes"
        yield Feature(name, is_there, good if is_there else "the kernel or the helper's image has it not")
    nofile = found.get("nofile", "?")
    yield Feature(
        "nofile", is_there=True, text=f"{nofile} open files a process, unless a file says otherwise"
    )


def _name(said: Mapping[str, Any]) -> str:
    """What the engine calls itself: Docker's Platform, or its first component."""
    parts = said.get("Components") or [{}]
    name = str(parts[0].get("Name") or "Engine")
    title = "Docker Engine" if name == "Engine" else name
    return f"{title} {said.get('Version', '?')}"


def _filesystem(info: Mapping[str, Any]) -> str:
    status = dict(pair for pair in info.get("DriverStatus") or () if len(pair) == 2)  # noqa: PLR2004 - pairs
    return str(status.get("Backing Filesystem") or status.get("driver-type") or "an unknown file system")


def _version(text: object) -> tuple[int, ...]:
    """``"1.41"`` as numbers; what is none is older than everything."""
    parts = str(text or "").split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
