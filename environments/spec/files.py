"""What is known while files are read: the checkout, the variables, and everything found wrong so far."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from environments.errors import Problem, SpecError
from environments.spec.dotenv import read_dotenv
from environments.spec.source import MAX_BYTES, Mark, nearest

#: More problems than these help nobody.
MAX_PROBLEMS: Final = 50
#: Files of a folder that are looked at for the one that was meant.
MOST_NEIGHBOURS: Final = 1000
#: Files that one project may be made of, through `include` and `extends`.
MAX_FILES: Final = 200


class Problems(list[Problem]):
    """What was found wrong. When there is enough of it, it is raised: looking further helps nobody."""

    def append(self, problem: Problem) -> None:
        """Remember one more."""
        super().append(problem)
        if len(self) >= MAX_PROBLEMS:
            self.stop_if_any()

    def extend(self, problems: Iterable[Problem]) -> None:
        """Remember each."""
        for problem in problems:
            self.append(problem)

    def stop_if_any(self) -> None:
        """Raise them in the order of the files' lines, each once."""
        if self:
            raise SpecError(
                *sorted(dict.fromkeys(self), key=lambda problem: (problem.file, problem.line or 0))
            )


@dataclass(slots=True)
class Loading:
    """One project being read, over all its files."""

    #: The checkout, absolute: nothing outside it is read.
    root: Path
    #: The profiles that are on; ``*`` for all. Those of the services that are named are added when seen.
    profiles: Sequence[str] = ("*",)
    #: Services that are wanted by name.
    services: Collection[str] = ()
    problems: Problems = field(default_factory=Problems)
    notices: list[str] = field(default_factory=list)
    files_read: int = 0

    def note(self, sentence: str) -> None:
        """Remember a sentence for the run page, once."""
        if sentence not in self.notices:
            self.notices.append(sentence)

    def problem(self, message: str, place: Mark, key: str = "", mend: str = "") -> None:
        """Remember something wrong."""
        self.problems.append(Problem(message, place.file, place.line, key, mend))

    def shown(self, path: Path) -> str:
        """The path as messages name it: from the checkout down."""
        return os.path.relpath(path, self.root)

    def read(self, path: Path, *, told_by: Mark, key: str = "") -> str:
        """The text of a file of the checkout; problems name the line that asked for it."""
        try:
            return self.content(path, told_by=told_by, key=key).decode("utf-8")
        except UnicodeDecodeError as error:
            raise SpecError(Problem("the file is not UTF-8 text", self.shown(path), 1, key)) from error

    def content(self, path: Path, *, told_by: Mark, key: str = "") -> bytes:
        """What a file of the checkout holds; problems name the line that asked for it."""
        name = self.shown(path)
        place = Mark(told_by.file or name, told_by.line)
        self.files_read += 1
        if self.files_read > MAX_FILES:
            raise SpecError(Problem(f"more than {MAX_FILES} files are read", place.file, place.line, key))
        try:
            real = path.resolve()
            if not real.is_relative_to(self.root):
                message = f"{name} lies outside the checkout"
                mend = "Only files of the checkout are read."
                raise SpecError(Problem(message, place.file, place.line, key, mend))
            if real.stat().st_size > MAX_BYTES:
                message = f"{name} is larger than {MAX_BYTES // 1024} KiB"
                raise SpecError(Problem(message, place.file, place.line, key))
            return real.read_bytes()
        except (OSError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a path"
            message = f"{name} cannot be read: {reason.lower()}"
            mend = self._neighbour(path) if isinstance(error, FileNotFoundError) else ""
            raise SpecError(Problem(message, place.file, place.line, key, mend)) from error

    def _neighbour(self, path: Path) -> str:
        """A question naming the file that may have been meant."""
        folder = path.parent
        if not folder.resolve().is_relative_to(self.root) or not folder.is_dir():
            return ""
        return nearest(path.name, (other.name for other in islice(folder.iterdir(), MOST_NEIGHBOURS)))

    def dotenv(
        self, path: Path, variables: Mapping[str, str], *, told_by: Mark, key: str = ""
    ) -> dict[str, str]:
        """The variables of a ``.env`` file."""
        text = self.read(path, told_by=told_by, key=key)
        return read_dotenv(text, file=self.shown(path), variables=variables)


@contextmanager
def asked_by(key: str, place: Mark) -> Iterator[None]:
    """Name the key in problems that are told at the place where a file is asked for."""
    try:
        yield
    except SpecError as error:
        named = (
            replace(problem, key=problem.key or key)
            if (problem.file, problem.line) == (place.file, place.line)
            else problem
            for problem in error.problems
        )
        raise SpecError(*named) from error


@dataclass(frozen=True, slots=True)
class Scope:
    """What holds for a set of files that are one model: a project, or one included into it."""

    #: Where relative paths begin, absolute.
    folder: Path
    #: The run's variables, and those of ``.env`` below them.
    variables: Mapping[str, str]
    #: The files being included right now, outermost first: a file among them may not be included again.
    chain: tuple[Path, ...] = ()
