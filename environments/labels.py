"""The names on everything that is created: enough to find, judge and remove it without a database. Plain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Everything of ours begins with it; a user's file may not carry such labels to an engine.
PREFIX: Final = "itdash."

INSTANCE: Final = "itdash.instance"
ENVIRONMENT: Final = "itdash.environment"
OWNER: Final = "itdash.owner"
SERVICE: Final = "itdash.service"
FENCE: Final = "itdash.fence"
EXPIRES: Final = "itdash.expires"


@dataclass(frozen=True, slots=True)
class EnvironmentRef:
    """The name of an environment and what its labels say; enough to find and remove all of it."""

    #: Unique and short, ``itd-<8 hex of the run>-<shard>``: the prefix of every object's name.
    name: str
    #: The installation it belongs to; nothing without this label is ever touched.
    instance: str
    #: Opaque to this package, for example ``run:17/shard:1``.
    owner: str
    #: Grows with every try of the same owner: an older fence may always be removed.
    fence: int
    #: Seconds since the epoch after which anyone may remove it.
    expires: int


def labels_for(environment: EnvironmentRef, service: str | None = None) -> dict[str, str]:
    """The labels of one object of the environment; `service` for what belongs to one service."""
    labels = {
        INSTANCE: environment.instance,
        ENVIRONMENT: environment.name,
        OWNER: environment.owner,
        FENCE: str(environment.fence),
        EXPIRES: str(environment.expires),
    }
    return labels if service is None else labels | {SERVICE: service}


def ref_from(labels: Mapping[str, str]) -> EnvironmentRef | None:
    """The environment that labels speak of; None when they are not ours or not whole."""
    try:
        return EnvironmentRef(
            name=labels[ENVIRONMENT],
            instance=labels[INSTANCE],
            owner=labels[OWNER],
            fence=int(labels[FENCE]),
            expires=int(labels[EXPIRES]),
        )
    except (KeyError, ValueError):
        return None
