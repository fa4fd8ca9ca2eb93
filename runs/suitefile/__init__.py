"""``itdash.yml`` → `SuiteSpec`: what a suite is made of, with a line for everything that is wrong. Plain."""

from runs.suitefile.loader import (
    COMPOSE_FILES,
    SUITE_FILES,
    find_suite_file,
    gates_of,
    read_suite,
    read_suite_file,
    suite_from_compose,
)
from runs.suitefile.model import (
    Branches,
    Gates,
    Hook,
    ScheduleSpec,
    SuiteFile,
    SuiteFileError,
    SuiteSpec,
)
from runs.suitefile.triggers import objection, trigger_of

__all__ = [
    "COMPOSE_FILES",
    "SUITE_FILES",
    "Branches",
    "Gates",
    "Hook",
    "ScheduleSpec",
    "SuiteFile",
    "SuiteFileError",
    "SuiteSpec",
    "find_suite_file",
    "gates_of",
    "objection",
    "read_suite",
    "read_suite_file",
    "suite_from_compose",
    "trigger_of",
]
