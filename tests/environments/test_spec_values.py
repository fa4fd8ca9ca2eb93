import pytest

from environments.spec import values
from environments.spec.shellwords import words
from environments.spec.source import plain_scalar
from environments.spec.values import InvalidValueError


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("0", "0s"),
        ("10s", "10s"),
        ("90s", "1m30s"),
        ("1h", "1h0m0s"),
        ("1d", "24h0m0s"),
        ("1w", "168h0m0s"),
        ("500ms", "500ms"),
        ("1.5s", "1.5s"),
        ("1500us", "1.5ms"),
        ("15ns", "15ns"),
        ("1h1m1s1ms", "1h1m1.001s"),
    ],
)
def test_durations_have_one_form(written: str, canonical: str) -> None:
    assert values.duration(written) == canonical


@pytest.mark.parametrize(
    "written", ["", "5", "s", "1x", "1 s", "1m 5s", "tomorrow", "9" * 80 + "s", "101000w"]
)
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(InvalidValueError):
        values.duration(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("0", 0),
        (100, 100),
        ("1k", 1024),
        ("1kb", 1024),
        ("1KiB", 1024),
        ("64m", 67108864),
        ("1.5g", 1610612736),
    ],
)
def test_sizes_count_in_powers_of_1024(written: object, size: int) -> None:
    assert values.size(written) == size


@pytest.mark.parametrize("written", ["", "lots", "1.5.5g", "1x", "-1", "m"])
def test_what_is_no_size_is_refused(written: str) -> None:
    with pytest.raises(InvalidValueError):
        values.size(written)


@pytest.mark.parametrize(
    ("written", "targets"),
    [
        ("80", [80]),
        ("8080:80", [80]),
        ("127.0.0.1::80", [80]),
        ("[::1]:80:81", [81]),
        ("3000-3002", [3000, 3001, 3002]),
        ("1-3:4-6/udp", [4, 5, 6]),
        ("8000-9000:80", [80]),
    ],
)
def test_ports_in_short_form(written: str, targets: list[int]) -> None:
    assert [port["target"] for port in values.ports(written)] == targets


@pytest.mark.parametrize(
    "written", ["", "x", "70000", "3-1", "1-2:1-3", "80:80/http", "localhost:80:80", ":"]
)
def test_what_is_no_port_is_refused(written: str) -> None:
    with pytest.raises(InvalidValueError):
        values.ports(written)


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ("", []),
        ("sh -c 'a  b'", ["sh", "-c", "a  b"]),
        ('a "b\\" c"', ["a", 'b" c']),
        ("a\\ b c", ["a b", "c"]),
        ("a ''", ["a", ""]),
        ("a=b'c d'", ["a=bc d"]),
        ("a $(b c) d", ["a", "$(b c)", "d"]),
        ("a `b c` d", ["a", "`b c`", "d"]),
        ("a && b", ["a"]),
        ("a; b", ["a"]),
        ("a 2> x", ["a"]),
        ("a 'b && c'", ["a", "b && c"]),
    ],
)
def test_command_lines_are_cut_as_compose_cuts_them(line: str, cut: list[str]) -> None:
    assert words(line) == cut


@pytest.mark.parametrize("line", ["'a", 'a "b', "a \\", "(a)", "a `b", "a)"])
def test_a_command_line_that_does_not_end_is_refused(line: str) -> None:
    with pytest.raises(InvalidValueError):
        words(line)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("yes", "yes"),
        ("true", True),
        ("~", None),
        ("0777", 511),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("1_000", 1000),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1:30", "1:30"),
        ("1.2.3", "1.2.3"),
        ("-", "-"),
        ("+1", 1),
    ],
)
def test_bare_words_mean_what_they_mean_to_compose(written: str, value: object) -> None:
    meant = plain_scalar(written)

    assert (meant, type(meant)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.50, "1.5"),
        (1.0, "1"),
        (100000000.0, "1e+08"),
        (0.00001, "1e-05"),
        (-2.5, "-2.5"),
        (float("inf"), "+Inf"),
        (True, "true"),
        (None, ""),
        (12345678901234567890, "12345678901234567890"),
    ],
)
def test_scalars_become_the_texts_that_a_container_would_see(value: object, text: str) -> None:
    assert values.text_of(value) == text
