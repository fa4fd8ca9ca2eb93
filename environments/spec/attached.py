"""What a service is attached to in the canonical model: ports, networks, folders in memory. Plain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from environments.spec.building import Teller
from environments.spec.model import Mount, MountKind, Port
from environments.spec.source import Map, Seq
from environments.spec.values import InvalidValueError, size

_EXTENSION: Final = "x-itdash"
_MOST_PORT: Final = 65_535
_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_TMPFS_FORM: Final = "Write /path or /path:size=64m,mode=1777."
#: Options that hold for the folder alone.
_TMPFS_WORDS: Final = ("exec", "noexec", "ro", "rw", "nosuid", "nodev", "noatime")
_TMPFS_AMOUNTS: Final = ("mode", "uid", "gid", "nr_inodes")


def ports_of(name: str, service: Map, tree: Map, tell: Teller) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """Every port the service listens on in the file's order, and those of them to be published."""
    declared = [
        Port(port["target"], port.get("protocol", "tcp"))
        for port in service.get("ports") or ()
        if "target" in port
    ]
    published = declared if _is_published(name, service, tree, tell) else []
    if published and service.get("network_mode") not in {None, "bridge"}:
        tell.note(f"services.{name}.ports are not published: it has no network of its own.")
        published = []
    listens = [*declared, *_exposed(name, service, tell)]
    return tuple(dict.fromkeys(listens)), tuple(dict.fromkeys(published))


def _is_published(name: str, service: Map, tree: Map, tell: Teller) -> bool:
    """The service's own word counts, or else the file's."""
    for holder, key in ((service, f"services.{name}.x-itdash"), (tree, "x-itdash")):
        extension = holder.get(_EXTENSION)
        if not isinstance(extension, Map) or "publish" not in extension:
            continue
        if not isinstance(extension["publish"], bool):
            message = f"{key}.publish must be true or false"
            tell.problem(message, f"{key}.publish", extension.place("publish"))
        return extension["publish"] is True
    return False


def _exposed(name: str, service: Map, tell: Teller) -> Iterable[Port]:
    entries = service.get("expose") or Seq()
    for index, entry in enumerate(entries):
        numbers, _, protocol = entry.partition("/")
        first, _, last = numbers.partition("-")
        is_range = first.isdecimal() and (last or first).isdecimal() and int(last or first) <= _MOST_PORT
        if not is_range or (protocol or "tcp").lower() not in _PROTOCOLS:
            key = f"services.{name}.expose[{index}]"
            tell.problem(f"{key}: {entry!r} is not a port", key, entries.place(index))
            continue
        for number in range(int(first), int(last or first) + 1):
            yield Port(number, (protocol or "tcp").lower())


def addresses_of(
    name: str, service: Map, tree: Map, tell: Teller
) -> tuple[dict[str, tuple[str, ...]], dict[str, float]]:
    """Network → the service's other names there, the network of the highest priority first; and which of
    them leads out."""
    if service.get("network_mode") == "bridge":
        tell.note(f"services.{name}.network_mode: 'bridge' is the environment's default network here.")
        return {"default": ()}, {}
    asked = {network: options or Map() for network, options in (service.get("networks") or {}).items()}
    networks: dict[str, tuple[str, ...]] = {}
    for network in sorted(asked, key=lambda one: -_rank(asked[one])):
        for key in asked[network]:
            if key not in {"aliases", "priority", "gw_priority"} and not key.startswith("x-"):
                tell.note(f"services.{name}.networks.{network}.{key} is ignored: addresses are itdash's.")
        networks[network] = tuple(asked[network].get("aliases") or ())
    for other, alias in _links(tree):
        if other == name:
            networks = {network: (*aliases, alias) for network, aliases in networks.items()}
    gateways = {
        network: float(options["gw_priority"])
        for network, options in asked.items()
        if "gw_priority" in options
    }
    return networks, gateways


def _rank(options: Mapping[str, Any]) -> float:
    return float(options.get("priority") or 0)


def _links(tree: Map) -> Iterable[tuple[str, str]]:
    """A link's alias holds on the linked service's networks: names are the same for every peer."""
    for service in tree["services"].values():
        for link in service.get("links") or ():
            other, _, alias = link.partition(":")
            if alias and alias != other:
                yield other, alias


def tmpfs_of(name: str, service: Map, tell: Teller) -> list[Mount]:
    """The folders that `tmpfs` puts into memory."""
    mounts: list[Mount] = []
    entries = service.get("tmpfs") or Seq()
    for index, entry in enumerate(entries):
        target, _, text = entry.partition(":")
        options = [option for option in text.split(",") if option]
        key = f"services.{name}.tmpfs[{index}]"
        try:
            sizes = [size(option.removeprefix("size=")) for option in options if option.startswith("size=")]
        except InvalidValueError as error:
            tell.problem(f"{key}: {error}", key, entries.place(index), _TMPFS_FORM)
            continue
        others = [option for option in options if not option.startswith("size=")]
        if unknown := [option for option in others if not _is_tmpfs_option(option)]:
            message = f"{key}: {unknown[0]!r} is not an option of a tmpfs"
            tell.problem(message, key, entries.place(index), _TMPFS_FORM)
            continue
        mounts.append(
            Mount(
                MountKind.TMPFS,
                target,
                read_only="ro" in others,
                size_bytes=sizes[-1] if sizes else None,
                options=tuple(others),
            )
        )
    return mounts


def _is_tmpfs_option(option: str) -> bool:
    word, separator, value = option.partition("=")
    return word in _TMPFS_AMOUNTS and value.isalnum() if separator else word in _TMPFS_WORDS
