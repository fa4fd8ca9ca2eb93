"""How each key of a canonical tree is spelled out: one form per key, smaller forms first."""

from __future__ import annotations

import posixpath
import re
from typing import Final

from environments.spec import shapes, values
from environments.spec.merge import ordered, unique
from environments.spec.shellwords import words
from environments.spec.source import Map, Mark, Seq
from environments.spec.values import InvalidValueError, text_of


def _command(value: object) -> object:
    if isinstance(value, str):
        return Seq(words(value))
    return shapes.each(value, text_of) if isinstance(value, Seq) else value


def _labels(value: object) -> Map:
    table = shapes.table(value)
    for key, item in table.items():
        if item is None:
            table[key] = ""
    return table


def _environment(value: object) -> Map:
    table = shapes.table(value)
    for key in table:
        if key != key.rstrip():
            message = f"the variable {key!r} ends with a space"
            raise InvalidValueError(message, place=table.place(key))
    return table


def _depends_on(value: object) -> object:
    if not isinstance(value, Seq):
        entry = shapes.with_forms(required=values.boolean, restart=values.boolean)
        return shapes.by_key(value, lambda item: shapes.with_defaults(entry(item), required=True))
    result = Map(mark=value.mark)
    for index, name in enumerate(value):
        mark = value.place(index)
        result.put(
            text_of(name), shapes.marked({"condition": "service_started", "required": True}, mark), mark
        )
    return result


def _healthcheck(value: object) -> object:
    def test(command: object) -> object:
        return Seq(["CMD-SHELL", command]) if isinstance(command, str) else _command(command)

    times = dict.fromkeys(("interval", "timeout", "start_period", "start_interval"), values.duration)
    return shapes.with_forms(test=test, retries=values.natural, disable=values.boolean, **times)(value)


def _networks(value: object) -> object:
    if isinstance(value, Seq):
        return Map(
            ((text_of(name), None) for name in value),
            marks={text_of(name): value.place(index) for index, name in enumerate(value)},
            mark=value.mark,
        )
    names = {key: _once(key) for key in ("aliases", "link_local_ips")}
    return shapes.by_key(value, shapes.with_forms(driver_opts=shapes.table, **names))


def _once(key: str) -> shapes.Form:
    """A list in which each is told once."""
    return lambda value: unique(key, value) if isinstance(value, Seq) else value


def _ports(value: object) -> object:
    def entry(item: object) -> object:
        if not isinstance(item, Map):
            return [Map(port.items()) for port in values.ports(item)]
        shaped = shapes.with_forms(target=values.exact, published=_published, host_ip=_host_ip)(item)
        return shapes.with_defaults(shaped, mode="ingress", protocol="tcp")

    return shapes.each(value, entry) if isinstance(value, Seq) else value


def _published(value: object) -> str:
    if isinstance(value, float):
        message = f"{text_of(value)!r} is not a port"
        raise InvalidValueError(message, "Put it in quotes.")
    return text_of(value)


def _host_ip(value: object) -> str:
    values.check_address(text_of(value), text_of(value))
    return text_of(value)


def _volumes(value: object) -> object:
    long = shapes.with_forms(
        read_only=values.boolean,
        bind=shapes.with_forms(create_host_path=values.boolean),
        volume=shapes.with_forms(nocopy=values.boolean, labels=_labels),
        tmpfs=shapes.with_forms(size=_size_text, mode=_tmpfs_mode),
    )

    def entry(item: object) -> object:
        shaped = long(item) if isinstance(item, Map) else Map(values.mount(text_of(item)).items())
        if isinstance(shaped, Map) and isinstance(shaped.get("target"), str) and shaped["target"]:
            shaped["target"] = posixpath.normpath(shaped["target"])
        return shaped

    return shapes.each(value, entry) if isinstance(value, Seq) else value


def _tmpfs_mode(value: object) -> int:
    if isinstance(value, str):
        message = f"{value!r} is a text"
        raise InvalidValueError(message, "Write the mode as a number, for example 0o1777.")
    return values.exact(value)


def _size_text(value: object) -> str:
    return str(values.size(value))


def _devices(value: object) -> object:
    def entry(item: object) -> object:
        if isinstance(item, Map):
            return item
        source, _, rest = text_of(item).partition(":")
        target, _, permissions = rest.partition(":")
        if ":" in permissions:
            message = f"device {text_of(item)!r} has too many colons"
            raise InvalidValueError(message, "Write SOURCE, SOURCE:TARGET or SOURCE:TARGET:rwm.")
        pairs = {"source": source, "target": target or source, "permissions": permissions or "rwm"}
        return Map(pairs.items())

    return shapes.each(value, entry) if isinstance(value, Seq) else value


def _files(value: object) -> object:
    """`secrets` and `configs` of a service."""

    def entry(item: object) -> object:
        return (
            shapes.with_forms(mode=_mode)(item) if isinstance(item, Map) else Map([("source", text_of(item))])
        )

    return shapes.each(value, entry) if isinstance(value, Seq) else value


def _mode(value: object) -> str:
    if isinstance(value, str):
        if re.fullmatch(r"[0-7]{1,6}", value):
            return f"0{int(value, 8):o}"
        message = f"{value!r} is not a mode of a file"
        raise InvalidValueError(message, "Write it in octal digits, for example '0440'.")
    return f"0{values.exact(value):o}"


def _hosts(value: object) -> object:
    """`extra_hosts` in any notation → a list of ``name=address``, by name."""
    pairs: list[tuple[str, str, Mark]] = []
    if isinstance(value, Map):
        for name, item in value.items():
            addresses = item if isinstance(item, Seq) else [item]
            pairs += [(name, text_of(address), value.place(name)) for address in addresses]
    elif isinstance(value, Seq):
        for index, item in enumerate(value):
            text = text_of(shapes.bare(item))
            name, separator, address = text.partition("=" if "=" in text else ":")
            if not separator or not name:
                message = f"{text!r} is not a host and its address"
                raise InvalidValueError(message, "Write NAME=ADDRESS.", place=value.place(index))
            pairs += [(name, one, value.place(index)) for one in address.split(",")]
    result = Seq()
    for name, address, mark in pairs:
        result.add(f"{name}={_address(address)}", mark)
    return ordered(result)


def _address(value: object) -> str:
    return text_of(value).removeprefix("[").removesuffix("]")


def _env_files(value: object) -> object:
    entry = shapes.with_forms(required=values.boolean, format=_env_format)

    def one(item: object) -> object:
        path = item if isinstance(item, Map) else Map([("path", text_of(item))])
        return shapes.with_defaults(entry(path), required=True)

    return shapes.each(value if isinstance(value, Seq) else Seq([value]), one)


def _env_format(value: object) -> str:
    text = text_of(value)
    if text not in {"", "raw"}:
        message = f"{text!r} is no format of an env file"
        raise InvalidValueError(message, "Leave it out, or write 'raw'.")
    return text


def _ulimits(value: object) -> object:
    limit = shapes.with_forms(soft=values.exact, hard=values.exact)
    return shapes.by_key(value, lambda item: limit(item) if isinstance(item, Map) else values.exact(item))


def _build(value: object) -> object:
    if isinstance(value, str):
        return Map([("context", value)])
    return shapes.with_forms(
        args=shapes.table,
        labels=_labels,
        ssh=_ssh,
        additional_contexts=shapes.table,
        extra_hosts=_hosts,
        shm_size=_size_text,
        ulimits=_ulimits,
        no_cache=values.boolean,
        pull=values.boolean,
        privileged=values.boolean,
        provenance=shapes.text,
        sbom=shapes.text,
        secrets=_files,
        tags=_once("tags"),
    )(value)


def _ssh(value: object) -> object:
    table = shapes.table(value)
    keys = Seq(mark=table.mark)
    for key, path in table.items():
        keys.add(f"{key}={path}" if path else key, table.place(key))
    return keys


_HOOK: Final = shapes.with_forms(command=_command, environment=shapes.table, privileged=values.boolean)


def _develop(value: object) -> object:
    rule = shapes.with_forms(
        exec=_HOOK, ignore=shapes.texts, include=shapes.texts, initial_sync=values.boolean
    )
    return shapes.with_forms(watch=shapes.listed(rule))(value)


def _provider(value: object) -> object:
    return shapes.with_forms(options=lambda options: shapes.by_key(options, shapes.texts))(value)


def _blkio(value: object) -> object:
    limits = dict.fromkeys(
        ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"),
        shapes.listed(shapes.with_forms(rate=_size_text)),
    )
    return shapes.with_forms(
        weight=_weight, weight_device=shapes.listed(shapes.with_forms(weight=_weight)), **limits
    )(value)


def _weight(value: object) -> int:
    if isinstance(value, str):
        message = f"{value!r} is a text"
        raise InvalidValueError(message, "Write it without quotes.")
    return values.integer(value)


def _count(value: object) -> int:
    if value == "all":
        return -1
    try:
        return values.integer(value)
    except InvalidValueError as error:
        message = f"{text_of(value)!r} is neither 'all' nor a number"
        raise InvalidValueError(message) from error


def _requests(value: object) -> object:
    """Devices asked for: all of a kind unless a count or names are given."""

    def one(item: object) -> object:
        shaped = shapes.with_forms(count=_count, options=shapes.table)(item)
        told = [key for key in ("count", "device_ids") if isinstance(shaped, Map) and key in shaped]
        if len(told) > 1:
            message = "'count' and 'device_ids' exclude each other"
            raise InvalidValueError(message, "Keep one of them.")
        return shaped if told else shapes.with_defaults(shaped, count=-1)

    return shapes.each(value, one) if isinstance(value, Seq) else value


def _extends(value: object) -> object:
    return Map([("service", value)]) if isinstance(value, str) else value


def _gpus(value: object) -> object:
    return _requests(Seq([Map([("count", "all")])]) if value == "all" else value)


def _storage(value: object) -> object:
    def text(item: object) -> str:
        if isinstance(item, bool | float):
            message = f"{text_of(item)!r} is not a text"
            raise InvalidValueError(message, "Put it in quotes.")
        return text_of(item)

    return shapes.by_key(value, shapes.text)


def _limits() -> shapes.Form:
    generic = shapes.listed(shapes.with_forms(discrete_resource_spec=shapes.with_forms(value=values.integer)))
    return shapes.with_forms(
        cpus=values.number,
        memory=_size_text,
        pids=values.integer,
        devices=_requests,
        generic_resources=generic,
    )


_UPDATE: Final = shapes.with_forms(
    parallelism=values.integer,
    max_failure_ratio=values.number,
    delay=values.duration,
    monitor=values.duration,
)
_DEPLOY: Final = shapes.with_forms(
    labels=_labels,
    replicas=values.integer,
    resources=shapes.with_forms(limits=_limits(), reservations=_limits()),
    update_config=_UPDATE,
    rollback_config=_UPDATE,
    restart_policy=shapes.with_forms(
        delay=values.duration, window=values.duration, max_attempts=values.integer
    ),
    placement=shapes.with_forms(max_replicas_per_node=values.integer),
)

SERVICE: Final[dict[str, shapes.Form]] = {
    **dict.fromkeys(("annotations", "sysctls"), _labels),
    **dict.fromkeys(("command", "entrypoint"), _command),
    **dict.fromkeys(("dns_search", "tmpfs", "label_file", "expose", "group_add"), shapes.texts),
    **dict.fromkeys(
        ("init", "oom_kill_disable", "privileged", "read_only", "stdin_open", "tty", "attach"), values.boolean
    ),
    **dict.fromkeys(
        (
            "cpu_count",
            "cpu_period",
            "cpu_quota",
            "cpu_rt_period",
            "cpu_rt_runtime",
            "cpu_shares",
            "oom_score_adj",
            "pids_limit",
            "scale",
        ),
        values.integer,
    ),
    **dict.fromkeys(
        ("mem_limit", "mem_reservation", "memswap_limit", "mem_swappiness", "shm_size"), _size_text
    ),
    **dict.fromkeys(("cpus", "cpu_percent"), values.number),
    **dict.fromkeys(("secrets", "configs"), _files),
    "blkio_config": _blkio,
    "build": _build,
    "depends_on": _depends_on,
    "deploy": _DEPLOY,
    "develop": _develop,
    "dns": lambda value: Seq(text for text in shapes.texts(value) if text),
    "devices": _devices,
    "env_file": _env_files,
    "environment": _environment,
    "extends": _extends,
    "extra_hosts": _hosts,
    "gpus": _gpus,
    "healthcheck": _healthcheck,
    "labels": _labels,
    "logging": shapes.with_forms(options=shapes.texts_by_key),
    "models": _networks,
    "networks": _networks,
    "pull_policy": lambda value: "missing" if value == "if_not_present" else value,
    "ports": _ports,
    "post_start": shapes.listed(_HOOK),
    "pre_stop": shapes.listed(_HOOK),
    "provider": _provider,
    "stop_grace_period": values.duration,
    "storage_opt": _storage,
    "ulimits": _ulimits,
    "volumes": _volumes,
    "working_dir": shapes.text,
}


def _external(value: object) -> object:
    return value if isinstance(value, Map) else values.boolean(value)


RESOURCE: Final[dict[str, shapes.Form]] = {
    "external": _external,
    "labels": _labels,
    "driver_opts": shapes.optional_texts,
    **dict.fromkeys(("internal", "attachable", "enable_ipv4", "enable_ipv6"), values.boolean),
}
