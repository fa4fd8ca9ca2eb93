"""A test case keeps its identity over runs, tools and machines, and shares it with no other."""

from __future__ import annotations

from io import BytesIO
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.ingestion.identity import (
    CaseIdentities,
    case_identity,
    longer_chain,
    split_parameters,
    stable_file,
    stable_name,
    without_checkout,
)
from runs.ingestion.junit import JUnitReader

#: What XML can hold.
texts = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc")), max_size=30)


@given(texts, texts, texts)
def test_it_is_16_bytes_and_always_the_same(suites: str, class_name: str, name: str) -> None:
    identity = case_identity(suites, class_name, name)

    assert len(identity) == 16
    assert identity == case_identity(suites, class_name, name)


@given(st.tuples(texts, texts, texts, texts), st.tuples(texts, texts, texts, texts))
def test_other_parts_make_another_case(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    def of(parts: tuple[str, ...]) -> bytes:
        suites, class_name, name, variant = parts
        return case_identity(suites, class_name, name, "", variant)

    from unicodedata import normalize  # noqa: PLC0415 - the one difference that is none

    same = [normalize("NFC", part) for part in first] == [normalize("NFC", part) for part in second]
    assert (of(first) == of(second)) is same


def test_parts_never_run_together() -> None:
    assert case_identity("", "a", "bc") != case_identity("", "ab", "c")
    assert longer_chain(longer_chain("", "a"), "b") != longer_chain("", "ab")


def test_it_does_not_change_with_a_release() -> None:
    """A history hangs on every identity: this one was computed when the rule was made."""
    chain = longer_chain("", "checkout")

    assert case_identity(chain, "tests.test_pay", "test_pay[eur-3]", "tests/test_pay.py").hex() == (
        "7b38dde8019f8ab5282f73cc220dac05"
    )


def test_parameters_are_part_of_it() -> None:
    assert case_identity("", "c", "t[1]") != case_identity("", "c", "t[2]")


@pytest.mark.parametrize(
    ("name", "stable"),
    [
        ("test_u.A-20261121065419", "test_u.A"),
        ("nightly 2026-11-21T06:54:19Z", "nightly"),
        ("suite_2026-11-21 06:54:19.123", "suite"),
        ("order-12345678901234", "order-12345678901234"),
        ("release-2026", "release-2026"),
        ("v20261121065419123", "v20261121065419123"),
        ("job-2026-11-21T06.54-344bc89", "job"),
        ("job-2026-11-21T06.54-checkout", "job-checkout"),
        ("nightly_2026-11-21_06-54-19", "nightly"),
        ("api 20261121-065419", "api"),
        ("api-20261121T065419Z", "api"),
        ("api-20261121-1", "api-20261121-1"),
        ("sprint 2026-11-21", "sprint 2026-11-21"),
    ],
)
def test_time_stamps_leave_the_names_of_suites(name: str, stable: str) -> None:
    assert stable_name(name) == stable


@pytest.mark.parametrize(
    ("file", "stable"),
    [
        ("tests/a.py", "tests/a.py"),
        ("./tests/a.py", "tests/a.py"),
        ("tests\\a.py", "tests/a.py"),
        ("/builds/shop/tests/a.py", "a.py"),
        ("C:\\agent\\tests\\a.cs", "a.cs"),
        ("file:///app/a.test.js:12:3", "a.test.js"),
        ("spec/a_spec.rb:14", "spec/a_spec.rb"),
    ],
)
def test_files_are_named_as_on_every_machine(file: str, stable: str) -> None:
    assert stable_file(file) == stable


@pytest.mark.parametrize(
    ("name", "stable"),
    [
        ("/home/runner/work/shop/shop/src/cart/index.js", "src/cart/index.js"),
        ("D:\\a\\shop\\shop\\src\\cart\\index.js", "src/cart/index.js"),
        ("/__w/shop/shop/src/cart/index", "src/cart/index"),
        ("/var/lib/jenkins/workspace/shop@2/phpunit.xml", "shop/phpunit.xml"),
        ("C:\\ci\\workspace\\shop\\phpunit.xml", "shop/phpunit.xml"),
        ("/home/vsts/work/1/s/tests/unit", "tests/unit"),
        ("/opt/agent/work/0123456789abcdef/tests/unit", "tests/unit"),
        ("/var/lib/buildkite-agent/builds/ip-10-0-0-7-1/acme/shop/t", "acme/shop/t"),
        ("/home/gitlab-runner/builds/3yGtCg4g/0/acme/shop/t", "acme/shop/t"),
        ("/builds/acme/shop/t", "acme/shop/t"),
        # Addresses of an API, paths of nobody's checkout, and what only looks absolute.
        ("/api/v1/users", "/api/v1/users"),
        ("/tmp/me/a.yml:5", "/tmp/me/a.yml:5"),
        ("App\\Tests\\work\\CartTest", "App\\Tests\\work\\CartTest"),
        ("tests/workspace/x", "tests/workspace/x"),
    ],
)
def test_suites_and_classes_are_named_from_the_checkout_on(name: str, stable: str) -> None:
    assert without_checkout(name) == stable
    assert case_identity(longer_chain("", name), name, "t") == case_identity(
        longer_chain("", stable), stable, "t"
    )


@pytest.mark.parametrize(
    ("monday", "tuesday"),
    [
        ("t[<Cart object at 0x7f3a5c1d2e80>]", "t[<Cart object at 0x7f11aa22bb33>]"),
        ("t_0_lt_Cart_object_at_0x10e4d5b50_gt_", "t_0_lt_Cart_object_at_0x10aa4f350_gt_"),
        ("[1] com.shop.Cart@1b2c3d4e", "[1] com.shop.Cart@5f4e3d2"),
        ("[1] Cart$$Lambda$14/0x0000000800c03000@1b2c3d", "[1] Cart$$Lambda/0x00007f1a04001000@77cc11"),
        ("TestCart/&{0xc000012345}", "TestCart/&{0xc0004abcde}"),
    ],
)
def test_addresses_in_memory_leave_the_names_of_cases(monday: str, tuesday: str) -> None:
    assert CaseIdentities().of("", "c", monday) == CaseIdentities().of("", "c", tuesday)
    both = CaseIdentities()
    assert both.of("", "c", monday) != both.of("", "c", tuesday), "in one report they are two"
    assert both.of("", "c", monday) == both.of("", "c", monday), "and the same again is a retry"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("t[0xff0000]", "t[0x00ff00]"),
        ("t[at 0xbeef]", "t[at 0xcafe]"),
        ("mails ann@deadbeef.org", "mails ann@cafebabe.org"),
        ("uses checkout@8ade135", "uses checkout@1f2e3d4"),
        ("t[8080]", "t[8081]"),
        ("t[123e4567-e89b-12d3-a456-426614174000]", "t[123e4567-e89b-12d3-a456-426614174001]"),
        ("t[<Cart object at 0x7f3a5c1d2e80>]", "t[<Cart object at >]"),
    ],
)
def test_what_may_mean_something_stays_in_the_names_of_cases(first: str, second: str) -> None:
    assert CaseIdentities().of("", "c", first) != CaseIdentities().of("", "c", second)


def test_a_report_made_of_addresses_alone_is_held_in_bounded_memory() -> None:
    cases = CaseIdentities(addressed_limit=2)

    found = {cases.of("", "c", f"t[<Cart object at 0x7f00000000{n:02}>]") for n in range(4)}

    assert len(found) == 4


@given(texts)
def test_name_and_parameters_are_the_name_again(name: str) -> None:
    assert "".join(split_parameters(name)) == name


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("test_pay[eur-3]", ("test_pay", "[eur-3]")),
        ("test_pay[a[0]]", ("test_pay", "[a[0]]")),
        ("pay(int)[1]", ("pay(int)", "[1]")),
        ("returns [object]", ("returns [object]", "")),
        ("[1] first", ("[1] first", "")),
        ("[1]", ("[1]", "")),
        ("plain", ("plain", "")),
    ],
)
def test_parameters_are_split_where_tools_put_them(name: str, split: tuple[str, str]) -> None:
    assert split_parameters(name) == split


def test_endless_chains_stay_short() -> None:
    chain = ""
    for _ in range(1_000):
        chain = longer_chain(chain, "x" * 1_000)

    assert len(chain) <= 4_000


def written(cases: list[tuple[str, str, str]], *, machine: str, stamp: str, folder: str, time: str) -> bytes:
    """A report as a tool writes it on some machine at some time: suite, class and name of each case."""
    told = "".join(
        f'<testsuite name={quoteattr(suite + stamp)} hostname="{machine}" timestamp="{time}">'
        f'<testcase classname={quoteattr(class_name)} name={quoteattr(name)} time="{len(machine)}"'
        f' file="{folder}/test_a.py:{len(stamp)}"/></testsuite>'
        for suite, class_name, name in cases
    )
    return f"<testsuites>{told}</testsuites>".encode()


def identities(document: bytes) -> list[bytes]:
    return [case.identity for batch in JUnitReader(BytesIO(document)).batches() for case in batch]


words = st.text("abc.é[]-: ", min_size=1, max_size=8).map(str.strip).filter(bool)
told_cases = st.lists(st.tuples(words, words, words), min_size=1, max_size=8, unique=True)


@given(told_cases, st.data())
def test_it_is_the_same_from_any_machine_at_any_time_and_in_any_shard(
    cases: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    first = dict(
        zip(
            cases, identities(written(cases, machine="a", stamp="", folder="/ci/1", time="2026")), strict=True
        )
    )
    shards = data.draw(st.integers(1, 3))
    shuffled = data.draw(st.permutations(cases))
    for shard in range(shards):
        own = shuffled[shard::shards]
        document = written(
            own, machine=f"worker-{shard}", stamp="-20261121065419", folder="C:\\agent\\7", time="2027"
        )
        assert identities(document) == [first[case] for case in own]


@given(told_cases)
def test_different_tests_of_a_report_never_share_one(cases: list[tuple[str, str, str]]) -> None:
    found = identities(written(cases, machine="a", stamp="", folder="t", time="2026"))

    assert len(set(found)) == len(cases)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Chrome Headless 119.0.6045.105 (Linux x86_64)", "Chrome Headless 131.0.0.0 (Linux x86_64)"),
        ("HeadlessChrome 83.0.4103 (Linux 0.0.0)", "HeadlessChrome 84.0.1 (Linux 5.4)"),
        ("Firefox 76.0.3809 (Mac OS X 10.14.6)", "Firefox 77.0 (Mac OS X 10.15)"),
        (
            "TestCafe Tests: Chrome 119.0.0.0 / Ubuntu 22.04, Firefox 118.0 / macOS 14",
            "TestCafe Tests: Chrome 131.0.0.0 / Ubuntu 24.04, Firefox 119.0 / macOS 15.1",
        ),
        ("rspec2", "rspec"),
        ("rspec2", "rspec14"),
    ],
)
def test_browsers_versions_and_workers_are_no_part_of_a_suite(before: str, after: str) -> None:
    assert longer_chain("", before) == longer_chain("", after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Chrome 119.0 (Linux x86_64)", "Firefox 119.0 (Linux x86_64)"),
        ("Chrome 119.0 (Linux x86_64)", "Chrome 119.0 (Windows 10)"),
        ("Chrome 119.0 / Ubuntu 22.04", "Chrome 119.0 / macOS 14"),
        ("release 1.2.3", "release 1.2.4"),
        ("rspec-rails2", "rspec-rails3"),
        ("rspec models 2", "rspec models 3"),
    ],
)
def test_other_suites_stay_apart(before: str, after: str) -> None:
    assert longer_chain("", before) != longer_chain("", after)


@pytest.mark.parametrize(
    ("before", "after", "are_one"),
    [
        (
            "Chrome_Headless_119_0_6045_105_(Linux_x86_64).Cart",
            "Chrome_Headless_131_0_0_0_(Linux_x86_64).Cart",
            True,
        ),
        ("Firefox_76_0_(Mac_OS_X_10_14_6).shop.Cart", "Firefox_77_0_1_(Mac_OS_X_10_15).shop.Cart", True),
        ("chrome.119_0_6045_105.linux.Cart", "chrome.131_0_0_0.linux.Cart", True),
        ("chrome.119_0_6045_105.linux.Cart", "firefox.119_0.linux.Cart", False),
        ("Chrome_119_0_(Linux_x86_64).Cart", "Chrome_119_0_(Windows_10).Cart", False),
        ("tests.chrome.119_0.test_cart", "tests.chrome.131_0.test_cart", False),
    ],
)
def test_browsers_versions_are_no_part_of_a_class(before: str, after: str, are_one: bool) -> None:
    assert (case_identity("", before, "t") == case_identity("", after, "t")) is are_one
