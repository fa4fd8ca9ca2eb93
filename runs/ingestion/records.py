"""Walk XML formats whose test cases are small elements with a few children: each is kept until it ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, ClassVar

from runs.ingestion.errors import NotAReportError, ReportLimitError
from runs.ingestion.feeding import DEPTH_LIMIT, mended, read_xml, refuse_outside
from runs.ingestion.formats import describe_root
from runs.ingestion.report import OUTPUT_LIMIT, CaseRead, ReportSummary
from runs.ingestion.tally import Tally
from runs.ingestion.text import TextSink

#: Children kept of one record. What lies beyond is left out, with a note.
CHILD_LIMIT = 300
#: Characters kept of a child's text, of all texts of a record, and of all attributes of its children; a
#: failure's own limit is applied later.
_LONGEST_TEXT = 200_000
_TEXT_OF_A_RECORD = 1_000_000
_ATTRIBUTES_OF_A_RECORD = 16_000_000


@dataclass(slots=True)
class Element:
    """An element of a record, with its children."""

    tag: str
    attributes: Mapping[str, str]
    children: list[Element] = field(default_factory=list)
    sink: TextSink | None = None

    @property
    def text(self) -> str:
        """Its own text."""
        return self.sink.text() if self.sink is not None else ""

    def get(self, name: str) -> str:
        """Return an attribute, without space around it; empty when there is none."""
        return self.attributes.get(name, "").strip()

    def all(self, *path: str) -> Iterator[Element]:
        """Yield the descendants down this path of names."""
        for child in self.children:
            if child.tag == path[0]:
                if len(path) == 1:
                    yield child
                else:
                    yield from child.all(*path[1:])

    def first(self, *path: str) -> Element | None:
        """Return the first descendant down this path of names."""
        return next(self.all(*path), None)

    def said(self, *path: str) -> str:
        """Return the first such descendant's text; empty when there is none."""
        found = self.first(*path)
        return found.text if found is not None else ""


class RecordWalk(Tally, ABC):
    """A target of lxml's parser. Formats say what a record is, and what it comes to."""

    #: Elements that are kept with all that is in them, by their local names. They may hold each other.
    records: ClassVar[frozenset[str]]
    child_limit: ClassVar[int] = CHILD_LIMIT

    def __init__(self, case_limit: int | None) -> None:
        super().__init__(case_limit)
        self.root = ""
        self.has_ampersands = False
        #: Whether an element was seen that only this format has.
        self.is_known = False
        self._depth = 0
        #: The open elements from the outermost record on; how many children and characters it may still have.
        self._open: list[Element | None] = []
        self._children_left = 0
        self._text_left = 0
        self._attributes_left = 0

    # --- formats fill these in ----------------------------------------------------------------------

    def container(self, tag: str, attributes: Mapping[str, str]) -> None:
        """See an element outside of records begin."""

    def container_end(self, tag: str) -> None:
        """See an element outside of records end."""

    @abstractmethod
    def record(self, element: Element) -> None:
        """Take a record that is not within another."""

    def refuse_others(self) -> None:
        """Refuse another format whose root has the same name; call it at the end.

        Raises:
            NotAReportError: nothing in it was of this format.
        """
        if not self.is_known and not self.summary.case_count and not self.summary.suite_error_count:
            raise NotAReportError(describe_root(self.root))

    # --- the parser calls these ---------------------------------------------------------------------

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        """See a document type."""
        refuse_outside(name, public_id, system_id)

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """See an element begin."""
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            reason = f"Elements are nested deeper than {DEPTH_LIMIT:,}."
            raise ReportLimitError(reason)
        local = tag.rpartition("}")[2]
        if self.has_ampersands:
            attributes = mended(attributes)
        self.root = self.root or local
        if self._open:
            self._start_child(Element(local, attributes))
        elif local in self.records:
            self._open.append(Element(local, attributes))
            self._children_left = self.child_limit
            self._text_left = _TEXT_OF_A_RECORD
            self._attributes_left = _ATTRIBUTES_OF_A_RECORD
        else:
            self.container(local, attributes)

    def end(self, tag: str) -> None:
        """See an element end."""
        self._depth -= 1
        if not self._open:
            self.container_end(tag.rpartition("}")[2])
            return
        ended = self._open.pop()
        if not self._open and ended is not None:
            self.record(ended)

    def data(self, text: str) -> None:
        """See a piece of text."""
        element = self._open[-1] if self._open else None
        if element is None or (element.sink is None and text.isspace()):
            return
        if element.sink is None:
            if self._text_left <= 0:
                self.note(
                    f"The texts of a test case have more than {_TEXT_OF_A_RECORD:,} characters; the first of "
                    "them are read."
                )
                return
            element.sink = TextSink(min(_LONGEST_TEXT, max(self._text_left, OUTPUT_LIMIT)))
        element.sink.add(text)
        self._text_left -= len(text)

    def close(self) -> None:
        """The document's end."""

    def _start_child(self, element: Element) -> None:
        outer = self._open[-1]
        self._children_left -= 1
        self._attributes_left -= sum(map(len, element.attributes.values()))
        if outer is None or self._children_left < 0 or self._attributes_left < 0:
            if outer is not None:
                self.note(
                    f"A test case holds more than {self.child_limit:,} elements, or more than "
                    f"{_ATTRIBUTES_OF_A_RECORD:,} characters in their attributes; the first of them are read."
                )
            self._open.append(None)
            return
        outer.children.append(element)
        self._open.append(element)


class RecordReader:
    """Reads one report by a walk."""

    def __init__(self, stream: BinaryIO, walk: RecordWalk) -> None:
        self._stream = stream
        self._walk = walk
        self.summary: ReportSummary = walk.summary

    def batches(self) -> Iterator[list[CaseRead]]:
        """Yield the cases; see `ReportReader.batches`."""
        yield from read_xml(self._stream, self._walk)
        self._walk.refuse_others()
