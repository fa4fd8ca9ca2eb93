"""What makes a test case the same test case in another run, from another tool, on another machine.

The identity is a digest of five things, each as the report tells it:

1. the chain of suite names (`testsuite@name` from the outermost in; `testsuites` is only a wrapper), less
   the time stamps that some tools write into them;
2. the class name; 3. the name, parameters included; 4. the file: whole when relative, its last part when
   absolute, because checkouts lie elsewhere on every machine; without a line number;
5. the variant: what runs the same test under several conditions at once, Playwright's project.

Machines' names, times, order, shards and counts are no part of it, so neither another runner nor another
way to slice the suite makes a test a new one.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from unicodedata import normalize

#: Between parts; no XML document can hold either character, so parts never run together.
_PART = "\0"
_STEP = "\x1f"
_CHAIN_LIMIT = 4_000

#: unittest-xml-reporting names its suites `module.Class-20261121065419`; others write ISO times.
_STAMP = re.compile(
    r"[-_. ]?(?:"
    r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)"
    r"|(?:19|20)\d{2}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?"
    r")"
)
_LINE = re.compile(r":\d+(?::\d+)?$")
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[\\/]|[a-z]+://")


def case_identity(suites: str, class_name: str, name: str, file: str = "", variant: str = "") -> bytes:
    """Return the 16 bytes that name a test case in its suite; `suites` comes from `longer_chain`."""
    whole = _PART.join((suites, class_name, name, stable_file(file) if file else "", variant))
    if not whole.isascii():
        whole = normalize("NFC", whole)
    return blake2b(whole.encode("utf-8", "replace"), digest_size=16).digest()


def longer_chain(chain: str, name: str) -> str:
    """Add a nested suite's name to the chain that is the identity's first part; a digest of a long one."""
    longer = f"{chain}{_STEP}{stable_name(name)}"
    if len(longer) <= _CHAIN_LIMIT:
        return longer
    return blake2b(longer.encode("utf-8", "replace"), digest_size=16).hexdigest()


def stable_name(name: str) -> str:
    """Return a suite's name without the time stamps that make it new in every run."""
    return _STAMP.sub("", name).strip()


def stable_file(file: str) -> str:
    """Return a file's path as it is on every machine, without a line number."""
    file = _LINE.sub("", file.strip())
    if _ABSOLUTE.match(file):
        return re.split(r"[\\/]", file.rstrip("\\/"))[-1]
    return file.replace("\\", "/").removeprefix("./")


def split_parameters(name: str) -> tuple[str, str]:
    """Split `test_pay[eur-3]` into `test_pay` and `[eur-3]`; together they are always the name again."""
    if not name.endswith("]"):
        return name, ""
    start = name.find("[")
    if start <= 0 or name[start - 1].isspace():
        return name, ""
    return name[:start], name[start:]
