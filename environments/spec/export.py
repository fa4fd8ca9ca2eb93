"""The canonical model as ``docker compose config --format json`` prints it: to read, and to compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from environments.spec.loader import Model
from environments.spec.source import Timestamp

#: Printed even when nothing was said: a service always has both.
_COMMANDS: Final = ("command", "entrypoint")
#: Sections below the services, each with the key of a service that uses it.
_SECTIONS: Final = ("networks", "volumes", "secrets", "configs")
#: Spelt by Compose as in its own source.
_CAPITALS: Final = {"path": "Path", "rate": "Rate", "weight": "Weight"}


def compose_config(model: Model, *, name: str) -> dict[str, Any]:
    """The model as plain values, complete with the names that Compose would give its resources."""
    tree = plain(model.tree)
    services = {
        key: _without_extensions(_service(service)) for key, service in tree.get("services", {}).items()
    }
    config: dict[str, Any] = {"name": name, "services": services}
    for section in _SECTIONS:
        resources = {
            key: _resource(section, key, resource or {}, name)
            for key, resource in (tree.get(section) or {}).items()
            if key in _used(section, services)
        }
        if resources:
            config[section] = resources
    config |= {key: _extension(value) for key, value in tree.items() if key.startswith("x-")}
    escaped: dict[str, Any] = _escaped(config)
    return escaped


def plain(node: object) -> Any:  # noqa: ANN401 - a tree holds anything
    """The node as ordinary dictionaries and lists."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [plain(value) for value in node]
    return node.text if isinstance(node, Timestamp) else node


def _service(service: dict[str, Any]) -> dict[str, Any]:
    result = {key: _shape(key, value) for key, value in service.items()}
    if isinstance(result.get("deploy"), dict) and "scale" in result:
        result["deploy"].setdefault("replicas", result["scale"])
    result = {
        key: value
        for key, value in result.items()
        if (key in _KEPT_EMPTY and value is not None)
        or (value not in ({}, [], "", None, 0) and not (key in _SIZES and value == "0"))
    }
    result = {
        key: value
        for key, value in result.items()
        if not (value is False and key not in _TOLD_WHEN_FALSE) and key not in _UNPRINTED
    }
    return {**dict.fromkeys(_COMMANDS), **result}


#: Keys that are printed although there is nothing in them.
_KEPT_EMPTY: Final = frozenset(
    {
        "attach",
        "blkio_config",
        "command",
        "credential_spec",
        "develop",
        "entrypoint",
        "healthcheck",
        "init",
        "logging",
        "provider",
        "scale",
    }
)
#: Read, and printed nowhere.
_UNPRINTED: Final = frozenset({"pull_refresh_after"})
_SIZES: Final = frozenset({"mem_limit", "mem_reservation", "mem_swappiness", "memswap_limit", "shm_size"})
_TOLD_WHEN_FALSE: Final = frozenset({"init", "attach"})


def _shape(key: str, value: Any) -> Any:  # noqa: ANN401 - a tree holds anything
    shape = _SHAPES.get(key)
    return shape(value) if shape is not None and value is not None else value


def _deploy(value: dict[str, Any]) -> dict[str, Any]:
    resources = value.get("resources")
    kept = {key: item for key, item in value.items() if item is not None}
    if isinstance(resources, dict):
        kept["resources"] = {key: item for key, item in resources.items() if item is not None}
    return {"placement": {}, "resources": {}, **kept}


def _build(value: dict[str, Any]) -> dict[str, Any]:
    result = {"context": ".", **value}
    if "dockerfile_inline" not in result:
        result.setdefault("dockerfile", "Dockerfile")
    if "ulimits" in result:
        result["ulimits"] = _ulimits(result["ulimits"])
    if result.get("shm_size") == "0":
        del result["shm_size"]
    result["args"] = {key: item for key, item in (result.get("args") or {}).items() if item is not None}
    return {key: item for key, item in result.items() if item not in ({}, [], None, False, "")}


def _without_extensions(node: Any) -> Any:  # noqa: ANN401 - a tree holds anything
    """Compose prints extensions of the top level only; ours stay where they are read."""
    if isinstance(node, dict):
        return {
            key: _without_extensions(value)
            for key, value in node.items()
            if not key.startswith("x-") or key == "x-itdash"
        }
    return [_without_extensions(value) for value in node] if isinstance(node, list) else node


def _extension(node: Any) -> Any:  # noqa: ANN401 - a tree holds anything
    if isinstance(node, dict):
        return {key: _extension(value) for key, value in node.items()}
    return ([_extension(value) for value in node] or None) if isinstance(node, list) else node


def _secret(entry: dict[str, Any]) -> dict[str, Any]:
    return {"target": f"/run/secrets/{entry.get('source')}", **entry}


def _watch(rule: dict[str, Any]) -> dict[str, Any]:
    hook = {"command": None, **rule.get("exec", {})}
    return {**rule, "exec": hook}


def _blkio(value: dict[str, Any]) -> dict[str, Any]:
    def entry(item: object) -> object:
        return (
            {_CAPITALS.get(key, key): inner for key, inner in item.items()}
            if isinstance(item, dict)
            else item
        )

    return {
        key: [entry(item) for item in inner] if isinstance(inner, list) else inner
        for key, inner in value.items()
        if inner
    }


def _mount(entry: dict[str, Any]) -> dict[str, Any]:
    volume = entry.get("volume")
    result = {key: value for key, value in entry.items() if value is not False and value != ""}
    for key in ("bind", "tmpfs"):
        if isinstance(result.get(key), dict):
            result[key] = _told({name: item for name, item in result[key].items() if item != "0"})
    return result | ({"volume": volume} if volume is not None else {})


def _networks(value: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if options is None else _told(_without_extensions(options))
        for name, options in value.items()
    }


def _told(value: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {key: item for key, item in value.items() if item not in (None, False, 0, "", {}, [])}


def _ulimits(value: dict[str, Any]) -> dict[str, Any]:
    return {name: _told(limit) if isinstance(limit, dict) else limit or {} for name, limit in value.items()}


def _gpus(value: object) -> list[dict[str, Any]]:
    devices = value if isinstance(value, list) else []
    return [{key: item for key, item in device.items() if key in _DEVICE_KEYS} for device in devices]


_DEVICE_KEYS: Final = ("capabilities", "count", "device_ids", "driver", "options")


_SHAPES: Final[dict[str, Any]] = {
    "blkio_config": _blkio,
    "build": _build,
    "deploy": _deploy,
    "develop": lambda value: (
        {**value, "watch": [_watch(rule) for rule in value["watch"]]} if value.get("watch") else {}
    ),
    "gpus": _gpus,
    "healthcheck": lambda value: _told(value) | ({"retries": 0} if value.get("retries") == 0 else {}),
    "logging": _told,
    "networks": _networks,
    "ports": lambda value: [_told(port) for port in value],
    "secrets": lambda value: [_secret(entry) for entry in value],
    "ulimits": _ulimits,
    "volumes": lambda value: [_mount(entry) for entry in value],
}


def _used(section: str, services: Mapping[str, Any]) -> set[str]:
    used: set[str] = set()
    for service in services.values():
        if section == "networks":
            used |= set(service.get("networks") or ())
        elif section == "volumes":
            mounts = service.get("volumes") or ()
            used |= {str(mount.get("source")) for mount in mounts if mount.get("type") == "volume"}
        else:
            used |= {str(entry.get("source")) for entry in service.get(section) or ()}
            used |= {str(entry.get("source")) for entry in _of_build(service, section)}
    return used


def _of_build(service: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    build = service.get("build")
    return build.get(section) or [] if isinstance(build, dict) and section == "secrets" else []


def _resource(section: str, key: str, resource: dict[str, Any], project: str) -> dict[str, Any]:
    result = {
        name: value
        for name, value in resource.items()
        if (value not in (None, False, "", {}, []) or (name == "enable_ipv4" and value is False))
        and not name.startswith("x-")
    }
    external = resource.get("external")
    if isinstance(external, dict):
        result["name"] = external.get("name", resource.get("name", key))
        result["external"] = True
    if "name" not in resource:
        result.setdefault("name", key if result.get("external") else f"{project}_{key}")
    if section != "networks":
        return result
    ipam = result.get("ipam") or {}
    return result | {"ipam": _told({name: ipam.get(name) for name in ("driver", "config")})}


def _escaped(node: Any) -> Any:  # noqa: ANN401 - a tree holds anything
    """A ``$`` is doubled, so that the printed model can be read again."""
    if isinstance(node, dict):
        return {key.replace("$", "$$"): _escaped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_escaped(value) for value in node]
    return node.replace("$", "$$") if isinstance(node, str) else node
