"""The two small languages inside Compose files, case by case, as the reference binary answers.

What it accepts is asked of it all at once; what it refuses, one by one.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.environments.test_spec_against_compose import (  # noqa: F401 - two are fixtures
    Ask,
    ask,
    compose,
    ours,
    theirs,
)

VARIABLES = 'FOO=first\nBAR=bar\nEMPTY=\nJSON={"a":1}\n'

TEMPLATES = r"""
$FOO | ${FOO} | pre${FOO}post | $FOO$BAR | ${FOO}${BAR} | ${FOO:-d} | ${FOO-d} | ${EMPTY:-d} | ${EMPTY-d}
${NO:-d} | ${NO-d} | ${NO:-} | ${NO-} | ${NO} | $NO | ${FOO:+r} | ${FOO+r} | ${EMPTY:+r} | ${EMPTY+r}
${NO:+r} | ${NO+r} | ${FOO:?e} | ${FOO?e} | ${EMPTY?e} | $$FOO | $$$FOO | $$$$ | $${FOO} | $$$${FOO} | $ | a$
$1 | $- | $. | ^re$ | a $ b | ${NO:-$FOO} | ${NO:-${FOO}} | ${NO:-${NO2:-deep}}
${NO:-${NO2:-${NO3:-deeper}}} | ${NO:-a ${FOO} b} | ${NO:-$$FOO} | ${NO:-a}b} | ${NO:-{a}}
${NO:-"q"} | ${NO:-'q'} | ${NO:-/p/q:r} | ${NO:-a:-b} | ${NO:-a-b?c+d}
${NO-:-x} | ${NO-?x} | ${NO:-http://x:80/?a=b} | ${FOO:+${BAR}}
${FOO:+$BAR x} | ${EMPTY:+${BAR:?no}} | ${_X:-u} | ${X1:-u} | ${x:-u}
$FOO-bar | $FOO.bar | $FOO_bar | ${FOO}_bar | $FOO/$BAR | $FOO:$BAR | ${NO:- a } | é${FOO}é | $é | ${NO:-é}
${JSON} | ${NO:-{"a": 1}} | ${NO:-[1,2]} | \${FOO} | \$FOO | %{FOO} | ${NO:-$} | ${NO:-a$} | ${NO:-$$}
${FOO:+$$} | ${FOO:-} | ${FOO+} | $(FOO) | $[FOO] | $FOO} | {$FOO} | {{$FOO}} | {{.X}}
${NO:-{{.X}}} | ${NO:-${FOO}-${BAR}} | ${NO:-${FOO}}-${NO:-${BAR}} | ${EMPTY:-${EMPTY:-x}}
${EMPTY:+a}${EMPTY-b} | $$$$$FOO
"""
NOT_TEMPLATES = r"""
${} | ${ FOO} | ${FOO } | ${FOO!} | ${FOO | ${ | ${1} | ${FOO:} | ${FOO:x} | ${-} | ${:-x} | ${FOO/x/y}
${#FOO} | ${!FOO} | ${FOO%x} | ${FOO^^} | ${FOO=x} | ${FOO:=x} | ${NO:?} | ${NO?} | ${NO:?msg} | ${NO?m s g}
${EMPTY:?msg} | ${NO:?${FOO}} | ${NO:-${} | ${NO:-${ x}} | ${NO:-${FOO!}} | ${FOO.x} | ${FOO-x | ${FOO[0]}
${é} | ${FOO:-${NO:?no}} | ${FOO:?${NO:?no}} | ${EMPTY:+${NO?}} | ${FOO:-¶}
${NO:-${}}x | ${FOO@Q} | ${NO:-${NO2:?deep}}
"""
#: One file each; ``¶`` ends a line in it.
DOTENVS = r"""
A=1 | A='1' | A="1" | A= | A | A=a b | A=a b # c | A=a#b | A= # c | A=#c | A='a # b' # c | A="a # b" # c
export A=1 | export A | ¶  A=1 | A =1 | A= 1 | A = 1 ¶ | A: 1 | A: '1' | A=a=b | exportA=1 | A='a¶b' | A="a¶b"
A="a\nb" | A='a\nb' | A=a\nb | A="a\"b" | A='a\'b' | A="a\\b" | A="a\tb\rc" | A=$FOO | B=1¶A=$B | B=1¶A=${B}
B=1¶A='$B' | B=1¶A="$B" | B=1¶A="\$B" | B=1¶A=\$B | B=1¶A=$$B | A=${NO:-d} | A=${NO-d} | B=1¶A=${B:+r} | A=a$
A=${NO:-x y} | A=${NO:-'x'} | A="${NO:-x y}" | A=${A:-self} | A=1¶A=2 | A=1¶¶¶B=2 | # c¶A=1 | A=1;B=2 | A.B=1
A-B=1 | a=1 | _A=1 | A[0]=1 | 1=1 | A="" | A='' | A=" a " | A=a'b | A=a"b | A=`x` | A=é | É=1 | A=a # b # c
A=a #¶ | A=a# b | A=http://x/?a=b&c=d | A={"a": "b"} | A='{"a": "b"}' | A=$(x) | A=\ | A=a\ b | A="a\zb"
A="$" | A='$' | A="one¶two¶B=3"¶C=4 | A=<<EOF | A=1¶#B=2¶C=3 | A=1¶  # x¶C=3 | A==
A="\u00e9" | A="\x41"
A="\101" | A="\0123" | A="\012" | A="\0" | A="\0777" | A="\0377" | A="\a\b\f\v" | A="\c"
"""
NOT_DOTENVS = r"""
A B=1 | A='x | A="x | A=${ | A=${NO:?e} | A=${!} | A$=1 | 'A'=1 | %A=1 | A="${" | A/B=1 | A,B=1 | (A)=1
A='a''b' | A="a""b" | A+=1 | @ | A="a¶b
"""
RAW = r"""
A=1 | A='1' | A="1" # c | A=a=b | ¶  A=$FOO | A= 1 ¶ | A | # c¶A=1 | A= | A='x | FOO¶A=1 | A=a\nb
"""
NOT_RAW = "=1 | A =1 | export A=1 | A: 1 | A=1¶=2"
RAW_FORM = {"format": "raw"}


def cases(text: str) -> list[str]:
    return [case.replace("¶", "\n") for line in text.strip().splitlines() for case in line.split(" | ")]


def project(**keys: object) -> str:
    return json.dumps({"services": {"web": {"image": "x", **keys}}})


def test_variables_are_filled_in_the_same_case_by_case(ask: Ask) -> None:  # noqa: F811 - the fixture
    templates = {f"V{number}": template for number, template in enumerate(cases(TEMPLATES))}

    ours, theirs = ask(compose_yaml=project(environment=templates), env=VARIABLES)

    assert theirs is not None
    assert ours == theirs


@pytest.mark.parametrize("template", cases(NOT_TEMPLATES))
def test_what_cannot_be_filled_in_is_refused_by_both(ask: Ask, template: str) -> None:  # noqa: F811
    assert ask(compose_yaml=project(environment={"V": template}), env=VARIABLES) == (None, None)


@pytest.mark.parametrize(("texts", "form"), [(DOTENVS, {}), (RAW, RAW_FORM)], ids=["usual", "raw"])
def test_env_files_set_the_same_case_by_case(
    compose: str,  # noqa: F811 - the fixture
    tmp_path: Path,
    texts: str,
    form: dict[str, str],
) -> None:
    services = {}
    for number, text in enumerate(cases(texts)):
        (tmp_path / f"{number}.env").write_bytes(f"{text}\n".encode())
        services[f"s{number}"] = {"image": "x", "env_file": [{"path": f"{number}.env", **form}]}
    (tmp_path / ".env").write_text(VARIABLES)
    (tmp_path / "compose.yaml").write_text(json.dumps({"services": services}))

    answer = theirs(compose, tmp_path, ["compose.yaml"])

    assert answer is not None
    assert ours(tmp_path, ["compose.yaml"]) == answer


@pytest.mark.parametrize(("texts", "form"), [(NOT_DOTENVS, {}), (NOT_RAW, RAW_FORM)], ids=["usual", "raw"])
def test_env_files_that_say_nothing_are_refused_by_both(ask: Ask, texts: str, form: dict[str, str]) -> None:  # noqa: F811
    for text in cases(texts):
        entry = {"path": "web.env", **form}

        answers = ask(compose_yaml=project(env_file=[entry]), web_env=f"{text}\n", env=VARIABLES)

        assert answers == (None, None), text
