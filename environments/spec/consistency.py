"""What no schema sees: names that point nowhere, circles, services that cannot start. Completes the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from environments.errors import Problem
from environments.spec.schema import NEVER_TWICE
from environments.spec.source import Map, Mark, Seq, nearest

_DEFAULT: Final = "default"
#: Keys of a service whose value ``service:NAME`` lends it another one's namespace.
_SHARED: Final = ("network_mode", "pid", "ipc", "uts")


class Tell(Protocol):
    """Remembers something wrong with one service."""

    def __call__(self, message: str, key: str, place: Mark, mend: str = "") -> None:
        """`key` is below the service."""


def check_model(tree: Map, *, profiles: Sequence[str], problems: list[Problem]) -> None:
    """Complete the merged tree in place and add a problem for everything that does not fit together."""
    services: Map = tree.setdefault("services", Map())
    switched_off = {name for name, service in services.items() if not is_on(service, profiles)}
    for service in services.values():
        _complete(service, tree)
    for name, service in services.items():
        if name not in switched_off:
            _check_service(name, service, tree, switched_off, problems)
    _check_container_names(services, switched_off, problems)
    _check_circles(services, problems)
    _check_resources(tree, problems)
    for name in switched_off:
        del services[name]


def _check_container_names(services: Map, switched_off: set[str], problems: list[Problem]) -> None:
    owners: dict[str, str] = {}
    for name, service in services.items():
        wanted = service.get("container_name")
        if not wanted or name in switched_off:
            continue
        if wanted in owners:
            place = service.place("container_name")
            message = f"services {owners[wanted]!r} and {name!r} have one 'container_name', {wanted!r}"
            key = f"services.{name}.container_name"
            problems.append(Problem(message, place.file, place.line, key, "Take one of them out."))
        owners.setdefault(wanted, name)


def is_on(service: Map, profiles: Sequence[str]) -> bool:
    """Whether the service runs when these profiles are on."""
    asked = service.get("profiles") or ()
    return not asked or "*" in profiles or any(profile in profiles for profile in asked)


def _complete(service: Map, tree: Map) -> None:
    """Spell out what follows from other keys: the default network, dependencies that are implied."""
    if not service.get("networks") and "network_mode" not in service and "provider" not in service:
        service.put("networks", Map([(_DEFAULT, None)]), service.mark)
    if _DEFAULT in service.get("networks", ()):
        tree.setdefault("networks", Map()).setdefault(_DEFAULT, None)
    depends = service.get("depends_on") or Map(mark=service.mark)
    for other, place, is_restarted in _implied(service):
        if other not in depends:
            entry = Map([("condition", "service_started"), ("required", True)])
            if is_restarted:
                entry["restart"] = True
            depends.put(other, entry, place)
    if depends:
        service.put("depends_on", depends, service.place("depends_on"))


def _implied(service: Map) -> list[tuple[str, Mark, bool]]:
    """Who the service needs by other words, where that is said, and whether a restart is shared."""
    implied: list[tuple[str, Mark, bool]] = []
    for key in _SHARED:
        kind, _, other = str(service.get(key) or "").partition(":")
        if kind == "service" and other:
            implied.append((other, service.place(key), True))
    for key, foreign in (("links", ""), ("volumes_from", "container:")):
        entries = service.get(key) or Seq()
        for index, entry in enumerate(entries):
            if not (foreign and entry.startswith(foreign)):
                implied.append((entry.partition(":")[0], entries.place(index), key == "links"))
    return implied


def _has_preset(service: Map) -> bool:
    """Whether a preset brings the image; which there are is not known here."""
    extension = service.get("x-itdash")
    asked = extension.get("preset") if isinstance(extension, Map) else None
    return isinstance(asked, str) and asked not in {"", "none"}


def _check_service(
    name: str, service: Map, tree: Map, switched_off: set[str], problems: list[Problem]
) -> None:
    def problem(message: str, key: str, place: Mark, mend: str = "") -> None:
        problems.append(
            Problem(f"service {name!r} {message}", place.file, place.line, f"services.{name}.{key}", mend)
        )

    if not (service.get("image") or "build" in service or "provider" in service or _has_preset(service)):
        place = tree["services"].place(name)
        problem("has neither an image nor a build context", "image", place, "Add 'image' or 'build'.")
    _check_shapes(service, problem)
    _check_targets(service, problem)
    _check_watches(service, problem)
    _check_amounts(service, problem)
    _check_names(service, "networks", tree, problem)
    _check_names(service, "models", tree, problem)
    _check_sources(service, "secrets", tree, problem)
    _check_sources(service, "configs", tree, problem)
    if isinstance(service.get("build"), Map):
        _check_sources(service["build"], "secrets", tree, problem, "build.")
        on = {other: each for other, each in tree["services"].items() if other not in switched_off}
        _check_contexts(service["build"], on, problem)
    for index, mount in enumerate(service.get("volumes") or ()):
        source, known = mount.get("source"), tree.get("volumes") or {}
        if mount.get("type") == "volume" and source and source not in known:
            message = f"refers to undefined volume {source!r}"
            problem(message, f"volumes[{index}]", service["volumes"].place(index), nearest(source, known))
    _check_dependencies(name, service, tree["services"], switched_off, problem)
    if service.get("networks") and service.get("network_mode") not in {None, ""}:
        problem("sets both 'networks' and 'network_mode'", "network_mode", service.place("network_mode"))


def _check_shapes(service: Map, problem: Tell) -> None:
    """Keys that must fit together within one service."""
    for key, what in (("ports", "port"), ("volumes", "mount"), ("devices", "device")):
        for index, entry in enumerate(service.get(key) or ()):
            # Compose takes a port 0 for one; what it means is told where it is run.
            if not entry.get("target") and (key != "ports" or "target" not in entry):
                problem(f"has a {what} without a target", f"{key}[{index}]", service[key].place(index))
    test = (service.get("healthcheck") or {}).get("test")
    if test and test[0] not in {"CMD", "CMD-SHELL", "NONE"}:
        message = "has a health check that begins with neither CMD, CMD-SHELL nor NONE"
        mend = "Begin with CMD, or write the command as one string."
        problem(message, "healthcheck.test", service["healthcheck"].place("test"), mend)
    for key in NEVER_TWICE.intersection(service):
        items = service[key]
        if isinstance(items, Seq) and key != "extra_hosts" and len(set(map(str, items))) < len(items):
            problem(f"has an item of {key!r} twice", key, service.place(key))
    build = _mapping(service, "build")
    if "dockerfile" in build and "dockerfile_inline" in build:
        problem("has a Dockerfile and one inline", "build", service.place("build"), "Keep one of them.")
    platforms = build.get("platforms")
    if platforms and service.get("platform") and service["platform"] not in platforms:
        message = f"is to run on {service['platform']!r}, for which it is not built"
        problem(message, "platform", service.place("platform"), "Add it to 'build.platforms'.")


def _check_targets(service: Map, problem: Tell) -> None:
    """Nothing is mounted where a folder in memory is already."""
    taken: dict[str, str] = {}
    for key in ("tmpfs", "volumes"):
        entries = service.get(key) or Seq()
        for index, entry in enumerate(entries):
            target = str(entry.get("target")) if isinstance(entry, Map) else entry.partition(":")[0]
            if target in taken:
                message = f"mounts at {target!r} what {taken[target]!r} mounts there too"
                problem(message, f"{key}[{index}]", entries.place(index), "Keep one of them.")
            if key == "tmpfs":
                taken.setdefault(target, f"tmpfs[{index}]")


def _check_watches(service: Map, problem: Tell) -> None:
    for index, rule in enumerate(_mapping(service, "develop").get("watch") or ()):
        if str(rule.get("action")).startswith("sync") and not rule.get("target"):
            message = "has a watch rule that syncs without saying where to"
            problem(message, f"develop.watch[{index}].target", rule.mark, "Add 'target'.")


#: An amount of the service, and where under `deploy.resources` it may be told as well.
_AMOUNTS: Final = (
    ("mem_limit", "limits", "memory"),
    ("mem_reservation", "reservations", "memory"),
    ("cpus", "limits", "cpus"),
    ("pids_limit", "limits", "pids"),
)
_NOTHING: Final = (None, 0, "0", "")


def _check_amounts(service: Map, problem: Tell) -> None:
    """The same amount may be told in two places, but not differently."""
    resources = _mapping(service, "deploy", "resources")
    replicas = _mapping(service, "deploy").get("replicas")
    differing = [
        (key, f"deploy.resources.{section}.{amount}")
        for key, section, amount in _AMOUNTS
        # Compose takes a section that is there to say something about each amount, if only nothing.
        if service.get(key) not in _NOTHING
        and isinstance(resources.get(section), Map)
        and resources[section].get(amount) != service[key]
    ]
    if replicas is not None and service.get("scale", replicas) != replicas:
        differing.append(("scale", "deploy.replicas"))
    for key, path in differing:
        mend = f"Say it in {path!r} alone."
        problem(f"sets {key!r} and {path!r} differently", key, service.place(key), mend)
    count = service.get("scale", replicas)
    if count is not None and count < 0:
        problem(f"cannot have {count} replicas", "scale", service.place("scale"))
    if service.get("container_name") and count is not None and count > 1:
        message = f"has one 'container_name' for {count} containers"
        problem(message, "container_name", service.place("container_name"), "Take the name out.")


def _mapping(node: Map, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        inner = node.get(key)
        if not isinstance(inner, Map):
            return {}
        node = inner
    return node


def _check_names(service: Map, key: str, tree: Map, problem: Tell) -> None:
    known: Mapping[str, Any] = tree.get(key) or {}
    for other in service.get(key) or ():
        if other not in known:
            place = service[key].place(other)
            problem(
                f"refers to undefined {key[:-1]} {other!r}", f"{key}.{other}", place, nearest(other, known)
            )


def _check_sources(service: Map, key: str, tree: Map, problem: Tell, prefix: str = "") -> None:
    known: Mapping[str, Any] = tree.get(key) or {}
    for index, entry in enumerate(service.get(key) or ()):
        source = entry.get("source", "")
        if source not in known:
            message = f"refers to undefined {prefix.replace('.', ' ')}{key[:-1]} {source!r}"
            place = service[key].place(index)
            problem(message, f"{prefix}{key}[{index}]", place, nearest(source, known))


def _check_contexts(build: Map, services: Mapping[str, Map], problem: Tell) -> None:
    contexts = build.get("additional_contexts") or Map()
    for name, context in contexts.items():
        kind, _, other = str(context).partition(":")
        key = f"build.additional_contexts.{name}"
        if kind == "service" and other not in services:
            problem(
                f"builds on undefined service {other!r}", key, contexts.place(name), nearest(other, services)
            )
        elif kind == "service" and "build" not in services[other]:
            problem(f"builds on service {other!r}, which is not built itself", key, contexts.place(name))


def _check_dependencies(
    name: str, service: Map, services: Map, switched_off: set[str], problem: Tell
) -> None:
    for other, entry in (service.get("depends_on") or {}).items():
        place = service["depends_on"].place(other)
        key = f"depends_on.{other}"
        if other not in services:
            known = [service for service in services if service != name]
            problem(f"depends on undefined service {other!r}", key, place, nearest(other, known))
        elif other in switched_off and entry.get("required", True):
            wanted = ", ".join(services[other]["profiles"])
            mend = f"Switch on one of its profiles ({wanted}) or say 'required: false'."
            problem(f"depends on service {other!r}, which no active profile switches on", key, place, mend)


#: Of these, a secret or config says exactly one, unless it lives outside.
_CONTENTS: Final = {"secrets": ("file", "environment"), "configs": ("file", "environment", "content")}


def _check_resources(tree: Map, problems: list[Problem]) -> None:
    for section in ("networks", "volumes", "secrets", "configs"):
        resources = tree.get(section) or Map()
        for name, resource in resources.items():
            place = resources.place(name)
            for message, mend in _complaints(section, resource or Map()):
                key = f"{section}.{name}"
                problems.append(Problem(f"{key} {message}", place.file, place.line, key, mend))


def _complaints(section: str, resource: Map) -> Iterator[tuple[str, str]]:
    """What is wrong with one resource, each with its mend."""
    external = resource.get("external")
    named = external.get("name") if isinstance(external, Map) else None
    if named and resource.get("name", named) != named:
        yield "has two names, its own and its external one", "Use only 'name'."
    if section == "volumes" and external:
        for key in ("driver", "driver_opts", "labels"):
            if resource.get(key):
                yield f"is external and sets {key!r}", "An external volume is what it is."
    if section in _CONTENTS and not external:
        nothings = {None, ""} if section == "secrets" else {None}
        told = [key for key in _CONTENTS[section] if resource.get(key) not in nothings]
        if len(told) > 1:
            yield f"sets {' and '.join(map(repr, told))}, which exclude each other", ""
        elif not told:
            yield f"needs one of {', '.join(map(repr, _CONTENTS[section]))}", ""


def _check_circles(services: Map, problems: list[Problem]) -> None:
    """Add one problem for the first circle of dependencies on each path, naming the whole way round."""
    done: set[str] = set()
    for start in services:
        circle = _circle_from(start, services, done)
        if circle:
            place = services[circle[0]]["depends_on"].place(circle[1])
            way = " -> ".join(circle)
            key = f"services.{circle[0]}.depends_on.{circle[1]}"
            problems.append(
                Problem(f"services wait for each other in a circle: {way}", place.file, place.line, key)
            )
            return


def _circle_from(start: str, services: Map, done: set[str]) -> list[str]:
    path: dict[str, None] = {}
    waiting: list[tuple[str, bool]] = [(start, False)]
    while waiting:
        name, is_left = waiting.pop()
        if is_left:
            path.popitem()
            done.add(name)
            continue
        if name in path:
            way = list(path)
            return [*way[way.index(name) :], name]
        if name in done or name not in services:
            continue
        path[name] = None
        waiting.append((name, True))
        waiting.extend((other, False) for other in services[name].get("depends_on") or ())
    return []
