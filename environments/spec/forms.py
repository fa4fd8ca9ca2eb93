"""How each key of a canonical tree is spelled out: one form per key, smaller forms first."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any, Final

from environments.spec import values
from environments.spec.merge import ordered
from environments.spec.shellwords import words
from environments.spec.source import Map, Mark, Override, Reset, Seq
from environments.spec.values import InvalidValueError, text_of

#: A value as written → as it stands in the canonical tree. Raises `InvalidValueError`.
type Form = Callable[[Any], Any]


def bare(node: object) -> Any:  # noqa: ANN401 - a tree holds anything
    """The value under an ``!override``."""
    return node.value if isinstance(node, Override) else node


def like(marked: object, value: object) -> object:
    """The value, under an ``!override`` when the other one is."""
    return Override(value) if isinstance(marked, Override) else value


def _each(items: Seq, form: Form) -> Seq:
    """The form of every item; an error names the item's own line."""
    result = Seq(mark=items.mark)
    for index, item in enumerate(items):
        mark = items.place(index)
        if isinstance(item, Reset):
            continue
        try:
            made = form(bare(item))
        except InvalidValueError as error:
            error.place = error.place or mark
            raise
        for one in made if isinstance(made, list) and not isinstance(made, Seq) else [made]:
            result.add(one, mark)
    return result


def _marked(pairs: dict[str, Any], mark: Mark) -> Map:
    return Map(pairs.items(), marks=dict.fromkeys(pairs, mark), mark=mark)


def _defaults(value: object, **pairs: object) -> object:
    if isinstance(value, Map):
        for key, item in pairs.items():
            value.setdefault(key, item)
    return value


def _text(value: object) -> str:
    return text_of(value)


def _texts(value: object) -> Seq:
    """A list of texts, also from one text alone."""
    return _each(value, text_of) if isinstance(value, Seq) else Seq([text_of(value)])


def _command(value: object) -> object:
    if isinstance(value, str):
        return Seq(words(value))
    return _each(value, text_of) if isinstance(value, Seq) else value


def _table(value: object) -> Map:
    """``[K=V, K]`` or ``{K: V}`` → texts by key; None where only the key is given."""
    result = Map()
    if isinstance(value, Map):
        result.mark = value.mark
        for key, item in value.items():
            if isinstance(item, Reset | Override):
                result.put(key, item, value.place(key))
            else:
                result.put(key, None if item is None else text_of(item), value.place(key))
    elif isinstance(value, Seq):
        result.mark = value.mark
        for index, item in enumerate(value):
            if not isinstance(item, Reset):
                key, separator, rest = text_of(bare(item)).partition("=")
                result.put(key, rest if separator else None, value.place(index))
    return result


def _labels(value: object) -> Map:
    table = _table(value)
    for key, item in table.items():
        if item is None:
            table[key] = ""
    return table


def _environment(value: object) -> Map:
    table = _table(value)
    for key in table:
        if key != key.rstrip():
            message = f"the variable {key!r} ends with a space"
            raise InvalidValueError(message, place=table.place(key))
    return table


def _with(**forms: Form) -> Form:
    """A mapping some of whose keys have forms of their own."""

    def shape(value: object) -> object:
        if not isinstance(value, Map):
            return value
        result = Map(mark=value.mark)
        for key, item in value.items():
            form = forms.get(key)
            if form is None or isinstance(item, Reset):
                result.put(key, item, value.place(key))
                continue
            try:
                result.put(key, like(item, form(bare(item))), value.place(key))
            except InvalidValueError as error:
                error.args = (f"{key}: {error}",)
                error.place = error.place or value.place(key)
                raise
        return result

    return shape


def _depends_on(value: object) -> object:
    if not isinstance(value, Seq):
        entry = _with(required=values.boolean, restart=values.boolean)
        return _values(value, lambda item: _defaults(entry(item), required=True))
    result = Map(mark=value.mark)
    for index, name in enumerate(value):
        mark = value.place(index)
        result.put(text_of(name), _marked({"condition": "service_started", "required": True}, mark), mark)
    return result


def _values(value: object, form: Form) -> object:
    """A mapping whose every value has the form."""
    if not isinstance(value, Map):
        return value
    result = Map(mark=value.mark)
    for key, item in value.items():
        made = item if isinstance(item, Reset) else like(item, form(bare(item)))
        if isinstance(made, dict) and not isinstance(made, Map):
            made = _marked(made, value.place(key))
        result.put(key, made, value.place(key))
    return result


def _healthcheck(value: object) -> object:
    def test(command: object) -> object:
        return Seq(["CMD-SHELL", command]) if isinstance(command, str) else _command(command)

    times = dict.fromkeys(("interval", "timeout", "start_period", "start_interval"), values.duration)
    return _with(test=test, retries=values.natural, disable=values.boolean, **times)(value)


def _networks(value: object) -> object:
    if isinstance(value, Seq):
        return Map(
            ((text_of(name), None) for name in value),
            marks={text_of(name): value.place(index) for index, name in enumerate(value)},
            mark=value.mark,
        )
    return _values(value, _with(driver_opts=_table))


def _ports(value: object) -> object:
    def entry(item: object) -> object:
        if not isinstance(item, Map):
            return [Map(port.items()) for port in values.ports(item)]
        shaped = _with(target=values.integer, published=_text)(item)
        return _defaults(shaped, mode="ingress", protocol="tcp")

    return _each(value, entry) if isinstance(value, Seq) else value


def _volumes(value: object) -> object:
    long = _with(
        read_only=values.boolean,
        bind=_with(create_host_path=values.boolean),
        volume=_with(nocopy=values.boolean, labels=_labels),
        tmpfs=_with(size=_size_text, mode=values.integer),
    )

    def entry(item: object) -> object:
        shaped = long(item) if isinstance(item, Map) else Map(values.mount(text_of(item)).items())
        if isinstance(shaped, Map) and isinstance(shaped.get("target"), str) and shaped["target"]:
            shaped["target"] = posixpath.normpath(shaped["target"])
        return shaped

    return _each(value, entry) if isinstance(value, Seq) else value


def _size_text(value: object) -> str:
    return str(values.size(value))


def _devices(value: object) -> object:
    def entry(item: object) -> object:
        if isinstance(item, Map):
            return item
        source, _, rest = text_of(item).partition(":")
        target, _, permissions = rest.partition(":")
        pairs = {"source": source, "target": target or source, "permissions": permissions or "rwm"}
        return Map(pairs.items())

    return _each(value, entry) if isinstance(value, Seq) else value


def _files(value: object) -> object:
    """`secrets` and `configs` of a service."""

    def entry(item: object) -> object:
        return _with(mode=_mode)(item) if isinstance(item, Map) else Map([("source", text_of(item))])

    return _each(value, entry) if isinstance(value, Seq) else value


def _mode(value: object) -> str:
    if isinstance(value, str) and re.fullmatch(r"[0-7]{1,6}", value):
        return f"0{int(value, 8):o}"
    return f"0{values.integer(value):o}"


def _hosts(value: object) -> object:
    """`extra_hosts` in any notation → a list of ``name=address``, by name."""
    pairs: list[tuple[str, str, Mark]] = []
    if isinstance(value, Map):
        for name, item in value.items():
            addresses = item if isinstance(item, Seq) else [item]
            pairs += [(name, text_of(address), value.place(name)) for address in addresses]
    elif isinstance(value, Seq):
        for index, item in enumerate(value):
            text = text_of(bare(item))
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
    entry = _with(required=values.boolean)

    def one(item: object) -> object:
        path = item if isinstance(item, Map) else Map([("path", text_of(item))])
        return _defaults(entry(path), required=True)

    return _each(value if isinstance(value, Seq) else Seq([value]), one)


def _ulimits(value: object) -> object:
    limit = _with(soft=values.integer, hard=values.integer)
    return _values(value, lambda item: limit(item) if isinstance(item, Map) else values.integer(item))


def _build(value: object) -> object:
    if isinstance(value, str):
        return Map([("context", value)])
    return _with(
        args=_table,
        labels=_labels,
        ssh=_ssh,
        additional_contexts=_table,
        extra_hosts=_hosts,
        shm_size=_size_text,
        ulimits=_ulimits,
        no_cache=values.boolean,
        pull=values.boolean,
        privileged=values.boolean,
        secrets=_files,
    )(value)


def _ssh(value: object) -> object:
    table = _table(value)
    keys = Seq(mark=table.mark)
    for key, path in table.items():
        keys.add(f"{key}={path}" if path else key, table.place(key))
    return keys


def _listed(form: Form) -> Form:
    """A list whose every item has the form."""
    return lambda value: _each(value, form) if isinstance(value, Seq) else value


_HOOK: Final = _with(command=_command, environment=_table, privileged=values.boolean)


def _develop(value: object) -> object:
    rule = _with(exec=_HOOK, ignore=_texts, include=_texts, initial_sync=values.boolean)
    return _with(watch=_listed(rule))(value)


def _provider(value: object) -> object:
    return _with(options=lambda options: _values(options, _texts))(value)


def _blkio(value: object) -> object:
    limits = dict.fromkeys(
        ("device_read_bps", "device_read_iops", "device_write_bps", "device_write_iops"),
        _listed(_with(rate=_size_text)),
    )
    return _with(weight=values.integer, weight_device=_listed(_with(weight=values.integer)), **limits)(value)


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
        shaped = _with(count=_count, options=_table)(item)
        is_counted = isinstance(shaped, Map) and ("count" in shaped or "device_ids" in shaped)
        return shaped if is_counted else _defaults(shaped, count=-1)

    return _each(value, one) if isinstance(value, Seq) else value


def _extends(value: object) -> object:
    return Map([("service", value)]) if isinstance(value, str) else value


def _gpus(value: object) -> object:
    return value if value == "all" else _requests(value)


def _optional_table(value: object) -> object:
    return _values(value, lambda item: None if item is None else text_of(item))


def _limits() -> Form:
    return _with(cpus=values.number, memory=_size_text, pids=values.integer, devices=_requests)


_UPDATE: Final = _with(
    parallelism=values.integer,
    max_failure_ratio=values.number,
    delay=values.duration,
    monitor=values.duration,
)
_DEPLOY: Final = _with(
    labels=_labels,
    replicas=values.integer,
    resources=_with(limits=_limits(), reservations=_limits()),
    update_config=_UPDATE,
    rollback_config=_UPDATE,
    restart_policy=_with(delay=values.duration, window=values.duration, max_attempts=values.integer),
    placement=_with(max_replicas_per_node=values.integer),
)

SERVICE: Final[dict[str, Form]] = {
    **dict.fromkeys(("annotations", "sysctls"), _labels),
    **dict.fromkeys(("command", "entrypoint"), _command),
    **dict.fromkeys(("dns", "dns_search", "tmpfs", "label_file", "expose", "group_add"), _texts),
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
    "devices": _devices,
    "env_file": _env_files,
    "environment": _environment,
    "extends": _extends,
    "extra_hosts": _hosts,
    "gpus": _gpus,
    "healthcheck": _healthcheck,
    "labels": _labels,
    "logging": _with(options=_optional_table),
    "models": _networks,
    "networks": _networks,
    "ports": _ports,
    "post_start": _listed(_HOOK),
    "pre_stop": _listed(_HOOK),
    "provider": _provider,
    "stop_grace_period": values.duration,
    "ulimits": _ulimits,
    "volumes": _volumes,
    "working_dir": _text,
}


def _external(value: object) -> object:
    return value if isinstance(value, Map) else values.boolean(value)


RESOURCE: Final[dict[str, Form]] = {
    "external": _external,
    "labels": _labels,
    "driver_opts": _optional_table,
    **dict.fromkeys(("internal", "attachable", "enable_ipv4", "enable_ipv6"), values.boolean),
}
