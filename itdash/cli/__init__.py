"""The command line. Each module of this package whose name is a command is one.

A command module has a docstring whose first line says what it does, `add_arguments(parser)` and
`run(options) -> int`, the exit code. Only the module of the command that was asked for is imported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from typing import Protocol, cast

#: Told by `itdash run` and scripts around it: 0 passed, 1 failed, 2 anything that is not the tests' fault.
EXIT_USAGE = 2


class Command(Protocol):
    """What a command module offers."""

    __doc__: str | None

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in {"-h", "--help", "help"}:
        print(overview())
        return 0 if words else EXIT_USAGE
    if words[0] == "--version":
        print(installed_version())
        return 0
    name, rest = words[0], words[1:]
    if name not in command_names():
        print(f"itdash has no command “{name}”.\n\n{overview()}", file=sys.stderr)
        return EXIT_USAGE
    command = load(name)
    parser = argparse.ArgumentParser(prog=f"itdash {name}", description=command.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_arguments(parser)
    return command.run(parser.parse_args(rest))


def command_names() -> list[str]:
    """Return the names of all commands, in order; a module whose name begins with an underscore is none."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Command:
    """Import the module of a command."""
    return cast("Command", import_module(f"{__name__}.{name}"))  # a module is its own interface


def overview() -> str:
    """List the commands, a line each."""
    lines = [f"  {name:<9} {summary(name)}" for name in command_names()]
    return "\n".join(
        [
            "usage: itdash COMMAND …",
            "",
            *lines,
            "",
            "`itdash COMMAND --help` says more; `itdash --version` the version.",
        ]
    )


def summary(name: str) -> str:
    """Return the first line of a command's docstring, without its full stop."""
    return (load(name).__doc__ or "").strip().partition("\n")[0].rstrip(".")


def installed_version() -> str:
    """Return the version of the installed package, or of a checkout that is not installed."""
    try:
        return version("itdash")
    except PackageNotFoundError:
        return "0 (not installed)"
