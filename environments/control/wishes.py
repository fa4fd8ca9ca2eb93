"""What a call wishes for, read from its body with words for whatever is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final

from environments.control.answers import ProblemError
from environments.control.controls import PartitionWish
from environments.engine import Direction, PartitionMode

_KEYS: Final = ("service", "kind", "from", "groups", "mode", "direction", "seconds")


def partition_wish(body: Mapping[str, Any]) -> PartitionWish:
    """Read who is to be kept from whom. Raises `ProblemError` (422) for what cannot be meant."""
    if unknown := sorted(set(body) - set(_KEYS)):
        known = ", ".join(f"'{key}'" for key in _KEYS)
        raise _refused(f"A partition has no '{unknown[0]}'; it takes {known}.")
    mode = _one_of(PartitionMode, body, "mode", PartitionMode.DROP)
    if body.get("groups") is not None:
        if extra := [key for key in ("service", "from", "direction") if body.get(key) is not None]:
            raise _refused(f"'groups' says who is kept from whom, both ways: leave '{extra[0]}' out.")
        return PartitionWish(groups=_groups(body["groups"]), mode=mode)
    service = body.get("service")
    if not isinstance(service, str) or not service:
        raise _refused("'service' must name the service to cut off, or 'groups' list those to part.")
    peers = () if body.get("from") is None else _names(body["from"], "'from'")
    if service in peers:
        raise _refused(f"'{service}' cannot be kept from itself: take it out of 'from'.")
    direction = _one_of(Direction, body, "direction", Direction.BOTH)
    return PartitionWish(service=service, peers=peers, mode=mode, direction=direction)


def _groups(value: object) -> tuple[tuple[str, ...], ...]:
    if not isinstance(value, list) or len(value) < 2:  # noqa: PLR2004 - one group has nobody to be kept from
        raise _refused("'groups' must list at least two groups, each a list of services' names.")
    groups = tuple(_names(group, "Each of 'groups'") for group in value)
    everybody = [name for group in groups for name in group]
    if twice := [name for name in everybody if everybody.count(name) > 1]:
        raise _refused(f"'{twice[0]}' stands in 'groups' twice; a service is on one side.")
    return groups


def _names(value: object, what: str) -> tuple[str, ...]:
    names: Sequence[object] = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    found = tuple(name for name in names if isinstance(name, str) and name)
    if not found or len(found) != len(names):
        raise _refused(f"{what} must be a list of services' names, with at least one in it.")
    return tuple(dict.fromkeys(found))


def _one_of[Word: StrEnum](words: type[Word], body: Mapping[str, Any], key: str, default: Word) -> Word:
    value = body.get(key)
    if value is None:
        return default
    if isinstance(value, str) and value in list(words):
        return words(value)
    raise _refused(f"'{key}' must be one of {', '.join(words)}; left out, it is {default}.")


def _refused(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)
