"""What makes a test case the same test case in another run, from another tool, on another machine.

The identity is a digest of five things, each as the report tells it:

1. the chain of suite names (`testsuite@name` from the outermost in; `testsuites` is only a wrapper), less
   the time stamps that some tools write into them;
2. the class name; 3. the name, parameters included, less addresses in memory; 4. the file: whole when
   relative, its last part when absolute, because checkouts lie elsewhere on every machine; without a line;
5. the variant: what runs the same test under several conditions at once, Playwright's project.

Suites and classes that are named by an absolute path (ESLint, PHPUnit) are named from the CI's checkout on.
Not by their last part: ESLint calls its tests alike in every `index.js`, and two tests must not become one.

Browsers that Karma, TestCafe and WebdriverIO put into names of suites and classes are named without their
versions, which update themselves, and RSpec's suite without the number of parallel_tests' worker.

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
#: In an address' place: no name holds it, so a name without an address stays another one.
_ADDRESS_MARK = "\\g<1>\x1a"
_CHAIN_LIMIT = 4_000
#: Names with addresses that one report's cases are told apart by; beyond, an address is a part of the name.
_ADDRESSED_LIMIT = 10_000

#: unittest-xml-reporting names its suites `module.Class-20261121065419`, Avocado
#: `job-2026-11-21T06.54-344bc89`; others write ISO times.
_STAMP = re.compile(
    r"[-_. ]?(?:"
    r"(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)"
    r"|(?:19|20)\d{2}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?"
    r"|(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])[-_T](?:[01]\d|2[0-3])[0-5]\d[0-5]\dZ?(?!\d)"
    r"|(?<!\d)(?:19|20)\d{2}-\d{2}-\d{2}[-T _]\d{2}([-._])\d{2}(?:\1\d{2})?(?!\d)(?:-[0-9a-f]{7}(?!\w))?"
    r")"
)
_LINE = re.compile(r":\d+(?::\d+)?$")
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[\\/]|[a-z]+://")
#: Where CIs check out to: what differs between their agents, up to where a checkout's own folders begin.
_CHECKOUT = re.compile(
    r"(?:file://)?(?:/?[A-Za-z]:)?/(?:[^/]+/)*?(?:"
    r"(?:work|__w|_work|a)/([^/]+)/\1/"  # GitHub Actions: /home/runner/work/shop/shop, D:/a/shop/shop
    r"|(?:work|_work|a)/\d+/s/"  # Azure Pipelines: /home/vsts/work/1/s
    r"|work/[0-9a-f]{16}/"  # TeamCity
    r"|buildkite-agent/builds/[^/]+/"  # the agent's name
    r"|builds/(?:[\w-]{8,9}/\d+/)?"  # GitLab: /builds/group/shop, builds/3yGtCg4g/0/group/shop
    r"|(?P<jenkins>workspace/)"  # shop, or shop@2 for a second build at once
    r")"
)
_SECOND_BUILD = re.compile(r"@\d+(?=/)")
#: What names an object by where it lay: Python, Go, others; Java's hash, and its lambdas.
_ADDRESS = re.compile(
    r"(?<=at[ _])0x[0-9a-fA-F]{6,16}(?![0-9a-zA-Z])"
    r"|(?<!\w)0x(?:c0[0-9a-f]{8}|(?:7f|5[56])[0-9a-f]{10})(?!\w)"
    r"|\$\$Lambda(?:\$\d+)?(?:/(?:0x)?[0-9a-f]+)?(?:@[0-9a-f]{1,8})?(?!\w)"
    r"|((?<!\w)[A-Z][\w$]{0,200}+(?:\[\]|;)?)@[0-9a-f]{5,8}(?![\w.@])"
)

_BROWSER = (
    r"(?:Chrome|Chromium|Firefox|Safari|Edge|Opera|Electron|PhantomJS|jsdom|IE|Internet Explorer)"
    r"(?:[ _]Headless)?"
)
#: Karma's suites, `Chrome Headless 119.0.6045.105 (Linux x86_64)`; TestCafe's, `Firefox 118.0 / Ubuntu 22`.
_BROWSER_IN_SUITE = re.compile(
    rf"({_BROWSER}) \d+(?:\.\d+)+"
    r"(?: \(([A-Za-z][A-Za-z ]*?)(?: [\d._]+| x86_64)?\)| / ([A-Za-z][A-Za-z ]*?)(?: [\d._]+\w*)?(?=, |$))?"
)
#: Karma's classes, `Chrome_Headless_119_0_6045_105_(Linux_x86_64).Cart`; WebdriverIO's,
#: `chrome.119_0_6045_105.linux.Cart`.
_BROWSER_IN_CLASS = re.compile(
    rf"\A(?P<karma>\w{{0,30}}{_BROWSER})_\d+(?:[._]\d+)+"
    r"_\((?P<system>[A-Za-z]+(?:_[A-Za-z]+)*?)(?:_[\d._]+|_x86_64)?\)(?=\.)"
    r"|\A(?P<wdio>(?i:chrome|firefox|safari|msedge|microsoftedge|edge)(?:-[a-z-]+)?)\.\d+(?:_\d+)+(?=\.)"
)
_WORKER = re.compile(r"(rspec)\d{1,3}")


def case_identity(suites: str, class_name: str, name: str, file: str = "", variant: str = "") -> bytes:
    """Return the 16 bytes that name a test case in its suite; `suites` comes from `longer_chain`."""
    return _digest(_beginning(suites, class_name), name, file, variant)


def _beginning(suites: str, class_name: str) -> str:
    return f"{suites}{_PART}{stable_class(class_name)}{_PART}"


def _digest(beginning: str, name: str, file: str, variant: str) -> bytes:
    whole = f"{beginning}{name}{_PART}{stable_file(file) if file else ''}{_PART}{variant}"
    told = whole.encode() if whole.isascii() else normalize("NFC", whole).encode("utf-8", "replace")
    return blake2b(told, digest_size=16).digest()


class CaseIdentities:
    """The identities of one report's cases.

    An address in memory is another one in every run, so it is left out of a name. Where nothing else tells
    two names of a report apart, they are told apart by which came first: never are two tests one.
    """

    def __init__(self, addressed_limit: int = _ADDRESSED_LIMIT) -> None:
        self._addressed_limit = addressed_limit
        self._addressed: dict[bytes, dict[str, int]] = {}
        self._count = 0
        #: What the last case's identity begins with: many cases in a row have one class.
        self._suites = self._class = ""
        self._beginning = _beginning("", "")

    def of(self, suites: str, class_name: str, name: str, file: str = "", variant: str = "") -> bytes:
        """Return the identity of a case, as `case_identity` does."""
        if class_name != self._class or suites != self._suites:
            self._suites, self._class = suites, class_name
            self._beginning = _beginning(suites, class_name)
        is_plain = "0x" not in name and "@" not in name and "$$" not in name
        if is_plain or len(name) > _CHAIN_LIMIT:
            return _digest(self._beginning, name, file, variant)
        stable = _ADDRESS.sub(_ADDRESS_MARK, name)
        identity = _digest(self._beginning, stable, file, variant)
        if stable == name:
            return identity
        places = self._addressed.setdefault(identity, {})
        place = places.get(name)
        if place is None:
            if self._count >= self._addressed_limit:
                return _digest(self._beginning, name, file, variant)
            self._count += 1
            place = places[name] = len(places)
        if not place:
            return identity
        return _digest(self._beginning, f"{stable}{_STEP}{place}", file, variant)


def longer_chain(chain: str, name: str) -> str:
    """Add a nested suite's name to the chain that is the identity's first part; a digest of a long one."""
    longer = f"{chain}{_STEP}{stable_name(name)}"
    if len(longer) <= _CHAIN_LIMIT:
        return longer
    return blake2b(longer.encode("utf-8", "replace"), digest_size=16).hexdigest()


def stable_name(name: str) -> str:
    """Return a suite's name without the time stamps, checkouts and versions that make it new in every run.

    One that no tool writes is as it is: looking through megabytes of it takes minutes.
    """
    if len(name) > _CHAIN_LIMIT:
        return name.strip()
    name = without_checkout(_STAMP.sub("", name).strip())
    worker = _WORKER.fullmatch(name)
    if worker:
        return worker[1]
    return _BROWSER_IN_SUITE.sub(r"\1 \2\3", name) if "." in name else name


def stable_class(name: str) -> str:
    """Return a class name without a CI's checkout, and without the version of the browser that it names."""
    if name[:1] == "/" or name[1:2] == ":" or name[:5] == "file:":
        return without_checkout(name)
    return _BROWSER_IN_CLASS.sub(_without_version, name, count=1) if "_" in name[:100] else name


def _without_version(match: re.Match[str]) -> str:
    return match["wdio"] or f"{match['karma']}_({match['system']})"


def without_checkout(name: str) -> str:
    """Return a name that is an absolute path in a CI's checkout from there on; any other as it is."""
    if len(name) > _CHAIN_LIMIT or not _ABSOLUTE.match(name):
        return name
    path = name.replace("\\", "/")
    match = _CHECKOUT.match(path)
    if match is None:
        return name
    rest = path[match.end() :]
    return _SECOND_BUILD.sub("", rest, count=1) if match["jenkins"] else rest


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
