"""Files that a report names. A name is all there is of them here: nothing is ever opened by it.

Reports name files by paths on the machine that ran the tests. Whether such a file came along is found out by
comparing names with names, from their ends: machines differ in where a checkout lies, not in what lies in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from runs.ingestion.text import TextSink

#: Attachments kept of one test case, those beyond it that are counted, and characters of a path.
ATTACHMENT_LIMIT = 100
ATTACHMENT_COUNT_LIMIT = 10_000
ATTACHED_PATH_LIMIT = 1_000

_MARK = "[[ATTACHMENT|"
_MARK_END = "]]"
#: Properties of a test case by which tools name a file; TestRail's and Testmo's, and what people call theirs.
_NAMING = frozenset({"attachment", "testrail_attachment", "screenshot", "video", "trace"})
_FILE = re.compile(r"[^\\/:*?\"<>|\r\n]*[^.\\/\s]\.[A-Za-z0-9]{1,8}$")
_ADDRESS = re.compile(r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_ROOT = re.compile(r"(?:file://)?/*(?:[A-Za-z]:(?=[\\/]))?", re.IGNORECASE)


class Attachment(NamedTuple):
    """A file as a report names it."""

    #: As people call it.
    name: str
    #: Where it lay when the report was written; empty when its content stands in the report itself.
    path: str
    #: As the report says; empty when it does not.
    content_type: str = ""


def attachment(path: str, name: str = "", content_type: str = "") -> Attachment:
    """Return an attachment within its limits, named by the last part of its path where it has no name."""
    path = path.strip()[-ATTACHED_PATH_LIMIT:]
    return Attachment((name.strip() or plain_path(path).rpartition("/")[2])[:200], path, content_type[:100])


def kept_attachments(found: Iterable[Attachment]) -> tuple[tuple[Attachment, ...], int]:
    """Return each attachment once, within the limit, and how many there are beyond it."""
    each = tuple(dict.fromkeys(one for one in found if one.path or one.name))
    return each[:ATTACHMENT_LIMIT], max(0, len(each) - ATTACHMENT_LIMIT)


def marked_paths(text: str) -> Iterator[str]:
    """Yield the paths in lines of the form `[[ATTACHMENT|path]]`, as Jenkins reads them in outputs."""
    at = text.find(_MARK)
    while at >= 0:
        begin = at + len(_MARK)
        at = text.find(_MARK, begin)
        limit = begin + ATTACHED_PATH_LIMIT
        end = text.find(_MARK_END, begin, limit + len(_MARK_END))
        # A path may end in a bracket itself.
        while begin <= end < limit and text.startswith("]", end + len(_MARK_END)):
            end += 1
        path = text[begin:end] if end >= 0 else ""
        if path.strip() and "\n" not in path and _MARK not in path:
            yield path.strip()


def named_by_property(name: str, value: str) -> Attachment | None:
    """Return the file that a test case's property names; None for any other property."""
    word, _, label = name.partition(":")
    if word.strip().lower() not in _NAMING or _ADDRESS.match(value) or not _FILE.search(value.strip()):
        return None
    return attachment(value, label)


class OutputSink(TextSink):
    """What a test case prints, with the files that it names on the way, also where the text is cut."""

    __slots__ = ("_is_cut", "left", "paths")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._is_cut = False
        #: Once `text` was asked for, all of them; of those beyond the limit only that there were others.
        self.paths: dict[str, None] = {}
        self.left: set[int] = set()

    def text(self) -> str:
        """Return the text as far as it was kept."""
        if not self._is_cut:
            self._look()
        return super().text()

    def _compact(self) -> None:
        self._look()
        super()._compact()
        self._is_cut = True

    def _look(self) -> None:
        # What was cut out is missing between the first piece and the others.
        pieces = self._pieces
        for text in (pieces[0], "".join(pieces[1:])) if self._is_cut else ("".join(pieces),):
            for path in marked_paths(text):
                if len(self.paths) < ATTACHMENT_LIMIT:
                    self.paths[path] = None
                elif path not in self.paths and len(self.left) < ATTACHMENT_COUNT_LIMIT:
                    self.left.add(hash(path))


def plain_path(path: str) -> str:
    """Return a path in one form: with `/`, without a root, without steps up that lead out of it."""
    parts: list[str] = []
    rest = path.strip()
    for part in rest[_root_length(rest) :].replace("\\", "/").split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts)


def found_among(named: str, sent: Sequence[str]) -> str | None:
    """Return the one of the sent files that a report means by this path; None when none or several could be.

    Of two paths one has to end with all of the other: `/home/ci/out/a/shot.png` is `out/a/shot.png`, and
    `a/shot.png` is not `b/shot.png`.
    """
    wanted = plain_path(named)
    if not wanted:
        return None
    shared: dict[str, int] = {}
    for path in sent:
        plain = plain_path(path)
        if plain == wanted:
            shared[path] = len(wanted) + 1
        elif plain and (wanted.endswith(f"/{plain}") or plain.endswith(f"/{wanted}")):
            shared[path] = min(len(plain), len(wanted))
    longest = max(shared.values(), default=0)
    best = [path for path, length in shared.items() if length == longest]
    return best[0] if len(best) == 1 else None


def _root_length(path: str) -> int:
    found = _ROOT.match(path)
    return found.end() if found else 0
