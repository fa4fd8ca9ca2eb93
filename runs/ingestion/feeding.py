"""Feed an XML document to a walk, chunk by chunk, and keep out what may be dangerous in it.

A walk sees each start, each end and each piece of text once, builds no tree, and gives out cases as they
are complete. Entities are refused, nothing outside of the stream is opened.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Protocol, cast

from lxml import etree

from runs.ingestion.errors import MalformedReportError, NotAReportError, ReportLimitError, UnsafeReportError
from runs.ingestion.formats import describe_bytes, describe_doctype, describe_text, mend_of
from runs.ingestion.report import CaseRead, ReportSummary
from runs.ingestion.sections import Sections

CHUNK_BYTES = 128 * 1024
#: What may come before the root element; a longer prologue is no report's.
PROLOGUE_LIMIT_BYTES = 1024 * 1024
DEPTH_LIMIT = 1_000

#: The end of a stream, in which the root element's end is looked for.
_END_BYTES = 1_000
_POSITION = re.compile(r",? line \d+, column \d+.*$", re.DOTALL)
_BLANK = b"\xef\xbb\xbf \t\r\n"
#: What may stand before a document type. Each part begins with other signs: none is tried in two ways.
_BEFORE_TYPE = re.compile(
    rb"(?:\xff\xfe|\xfe\xff)?(?:[\xef\xbb\xbf\s]++|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE", re.DOTALL
)


class ReportReader(Protocol):
    """Reads one report of some format. `batches` may be walked once; then `summary` is complete."""

    summary: ReportSummary

    def batches(self) -> Iterator[list[CaseRead]]:
        """Yield the cases in the order of the file, some hundred at a time.

        Raises:
            MalformedReportError: what follows is not well-formed. All cases that ended before the fault were
                yielded, and `summary` counts these.
            ReportError: the report cannot be taken. Cases that were yielded are to be undone.
        """


class Walk(Protocol):
    """What is fed: a target of lxml's parser with the cases that it found."""

    cases: list[CaseRead]
    root: str
    #: Whether what was fed holds ampersands, so that attributes are to be `mended`.
    has_ampersands: bool


def read_xml(stream: BinaryIO, walk: Walk) -> Iterator[list[CaseRead]]:
    """Yield the walk's cases as they come.

    Raises:
        ReportError: as `ReportReader.batches`.
    """
    parser = _parser(walk)
    sections = Sections()
    beginning = end = b""
    is_all = False
    try:
        while chunk := stream.read(CHUNK_BYTES):
            end = end[-_END_BYTES:] + chunk[-_END_BYTES:]
            if not walk.root:
                beginning += chunk
                _refuse_entities(beginning)
            # Most reports hold none, and each attribute is looked at. Some encodings write them otherwise.
            walk.has_ampersands = walk.has_ampersands or b"&" in chunk or b"<" not in beginning
            parser.feed(sections.divided(chunk))
            if walk.cases:
                yield _taken(walk)
        if not beginning.strip(_BLANK):
            reason = "The file is empty."
            raise NotAReportError(reason)
        is_all = True
        parser.close()
    except etree.XMLSyntaxError as error:
        if walk.cases:
            yield _taken(walk)
        raise _malformed(error, beginning, is_cut=is_all and _is_cut(end, walk.root)) from error
    if walk.cases:
        yield _taken(walk)


def begun(stream: BinaryIO) -> tuple[bytes, str, BinaryIO]:
    """Return how the document begins, its root element, and a stream that gives it from the start.

    The root is named as lxml does, with its namespace in braces; empty where none is found.
    """
    beginning = b""
    root = _Root()
    parser = _parser(root)
    while not root.name and len(beginning) <= PROLOGUE_LIMIT_BYTES and (chunk := stream.read(CHUNK_BYTES)):
        beginning += chunk
        if (
            is_json(beginning)
            or _entities_at(beginning.replace(b"\0", b"")) >= 0
            or describe_bytes(beginning)
        ):
            break
        try:
            parser.feed(chunk)
        except (etree.XMLSyntaxError, _FoundError):
            break
    return beginning, root.name, cast("BinaryIO", _Rewound(beginning, stream))


def mended(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """Return an element's attributes as they stand in the document.

    Where entities are not to be expanded, libxml2 gives `&#38;` for every ampersand of an attribute, whether
    it was written `&amp;` or `&#38;`, and `&#38;lt;` for `&amp;lt;`. Texts of elements are given as they are.
    """
    for value in attributes.values():
        if "&" in value:
            return {name: value.replace(_AMPERSAND, "&") for name, value in attributes.items()}
    return attributes


def _parser(target: Any) -> etree.XMLParser:  # noqa: ANN401 - the stubs ask for more than the parser does
    return etree.XMLParser(
        target=target,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        collect_ids=False,
    )


def _taken(walk: Walk) -> list[CaseRead]:
    cases, walk.cases = walk.cases, []
    return cases


def _refuse_entities(beginning: bytes) -> None:
    """Nobody's test tool declares entities, so they are not weighed, only refused."""
    plain = beginning.replace(b"\0", b"")  # UTF-16
    place = _entities_at(plain)
    if place >= 0:
        reason = "The document declares entities (<!ENTITY …>), which no test tool does: leave them out."
        raise UnsafeReportError(reason, line=plain.count(b"\n", 0, place) + 1)
    if len(beginning) > PROLOGUE_LIMIT_BYTES:
        reason = "No element within the first MiB."
        raise ReportLimitError(reason)


def is_json(beginning: bytes) -> bool:
    """Whether a document begins as an object in JSON, which PowerShell writes in UTF-16."""
    return beginning[:4_096].replace(b"\0", b"").lstrip(_BLANK + b"\xff\xfe").startswith(b"{")


def _entities_at(beginning: bytes) -> int:
    """Where entities are declared, -1 for nowhere: only a document type does, and text may speak of them."""
    before = _BEFORE_TYPE.match(beginning)
    return beginning.find(b"<!ENTITY", before.end()) if before else -1


def refuse_outside(root: str, public_id: str | None, system_id: str | None) -> None:
    """Refuse a document type that points to another file.

    Raises:
        NotAReportError: it does, and names what is no report anyway, such as a page or a coverage report.
        UnsafeReportError: it does.
    """
    if public_id or system_id:
        known = describe_doctype(root)
        if known:
            raise NotAReportError(known, line=1)
        reason = f"The document type points to another file ({system_id or public_id}); it is not opened."
        raise UnsafeReportError(reason, line=1)


def _is_cut(end: bytes, root: str) -> bool:
    """Whether a document whose root element began ends with something else than that element's end."""
    plain = end.replace(b"\0", b"").rstrip()  # UTF-16
    return bool(root) and not plain.endswith((f"{root}>".encode(), b"-->", b"?>"))


def _malformed(error: etree.XMLSyntaxError, beginning: bytes, *, is_cut: bool) -> Exception:
    line = error.position[0] or 1
    other = describe_bytes(beginning) or describe_text(beginning)
    if other:
        return NotAReportError(other, line=line)
    said = _POSITION.sub("", error.msg or "").strip().rstrip(".") or "no reason given"
    # How the parser calls a section that never ends.
    said = said.replace("Unregistered error message", "it breaks off")
    if is_cut and not mend_of(said, beginning):
        # Within a tag the parser tells what it expected next: that is not the fault.
        said = "it breaks off"
    mend = mend_of(said, beginning)
    return MalformedReportError(f"Not well-formed XML: {said}. {mend}".rstrip(), line=line)


class _FoundError(Exception):
    """The root was seen; nothing more is wanted."""


class _Root:
    """A target that looks for the root element."""

    name = ""

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        self.name = tag
        raise _FoundError

    def close(self) -> None:
        """Ask for nothing more."""


class _Rewound(io.RawIOBase):
    """A stream with what was read of it put back."""

    def __init__(self, beginning: bytes, stream: BinaryIO) -> None:
        super().__init__()
        self._beginning = beginning
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._beginning:
            cut = len(self._beginning) if size < 0 else size
            piece, self._beginning = self._beginning[:cut], self._beginning[cut:]
            return piece
        return self._stream.read(size)


class _Ampersand:
    """A target that sees how an ampersand of an attribute is given."""

    given = ""

    def start(self, _tag: str, attributes: Mapping[str, str]) -> None:
        self.given = attributes["is"]

    def close(self) -> None:
        """Ask for nothing more."""


def _ampersand() -> str:
    target = _Ampersand()
    parser = _parser(target)
    parser.feed(b'<ampersand is="&amp;"/>')
    parser.close()
    return target.given


#: As this libxml2 gives it: another one may mend it, and then nothing is replaced.
_AMPERSAND = _ampersand()
