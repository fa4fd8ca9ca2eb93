"""The part of the control API's other side that most tests have no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from environments.control import PartitionWish
from environments.engine import ExecResult
from environments.errors import NotPossibleHereError, UnknownNameError


class NoDepths:
    """Controls without commands, recipes, snapshots and faults."""

    def execute(self, name: str, command: Sequence[str], timeout_seconds: float) -> ExecResult:
        raise NotPossibleHereError(name)

    def recipe_service(self, recipe: str) -> str:
        raise UnknownNameError(recipe, known=["users"])

    def run_recipe(self, recipe: str, arguments: Mapping[str, Any]) -> object:
        raise UnknownNameError(recipe)

    def take_snapshot(self, name: str) -> str:
        raise NotPossibleHereError(name)

    def snapshot_service(self, snapshot: str) -> str:
        raise UnknownNameError(snapshot)

    def restore_snapshot(self, snapshot: str) -> None:
        raise UnknownNameError(snapshot)

    def begin_fault(self, name: str, kind: str, seconds: float | None) -> str:
        raise NotPossibleHereError(kind, kinds=["pause"])

    def begin_partition(self, wish: PartitionWish, seconds: float | None) -> str:
        raise NotPossibleHereError(str(seconds), kinds=["pause"])

    def end_fault(self, fault: str) -> None:
        raise UnknownNameError(fault)
