"""Who may ask an engine for how much at once: shared by all environments of this process on it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from environments.engine import Engine
from environments.probes import PROBES_IN_FLIGHT, Turns


@dataclass(frozen=True, slots=True)
class EngineTurns:
    """An engine's capacity, handed out in turns."""

    #: Creating and starting services: more at once than the engine has cores takes longer for all.
    starts: Turns
    #: Probes, each a command inside a service or a question over its network.
    probes: Turns = field(default_factory=lambda: Turns(PROBES_IN_FLIGHT))


_TURNS: WeakKeyDictionary[Engine, EngineTurns] = WeakKeyDictionary()
_LOCK = threading.Lock()


def turns_of(engine: Engine) -> EngineTurns:
    """The one set of turns of an engine, whoever asks."""
    cores = max(1, engine.capabilities().cpus)
    with _LOCK:
        return _TURNS.setdefault(engine, EngineTurns(starts=Turns(cores)))
