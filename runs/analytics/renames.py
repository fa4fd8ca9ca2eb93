"""Recognise tests that went on under another name: a case that is gone and its twin that appeared.

Two things prove nothing alone and much together: in one run of the whole suite a case is missing, and another
is there that never was. A pair is proposed when nothing else fits either of them as well:

- *moved*: name, parameters and variant are equal; class, file or suites differ. Where several tests share a
  name, the places decide: the tests of a class go where most of them went, if that is clear both ways; else
  to the place that ends alike (`shop/cart.py`, `store/cart.py`), if others went the same way. A name that is
  the only one of its kind moves alone, if the places are alike (`PLACE_FLOOR`) or others went the same way.
- *renamed*: class, file, suites, variant and parameters are equal, and the names alike:

      score = 0.8 · name + 0.2 · pace   (the name alone where a duration is unknown)

  `name` is Dice's coefficient of the names' words (`testPlacesOrder_twice` is places, order, twice), or of
  their pairs of letters where that is more: `totals` and `total` share no word but most letters. `pace`
  is the shorter duration by the longer, 50 ms added to both. The score is `SCORE_FLOOR` at least, the best
  that either of the two has, and ahead of the next best by `MARGIN`; anything less clear is not proposed.
- *renamed on the way*: where `COMPANION_FLOOR` tests or more of a place moved, all to one other place that
  took in no other's, what is left of the two places is compared as if it were one. A test that moved and was
  renamed by itself is not found: any name is somewhat like some other.

Moves come first and take their cases out. The parameters of a test are never guessed: `[eur]` is no `[usd]`;
nor are numbers in its name, which are parameters by another way: `step_1` is no `step_2`.

The order of what is given changes nothing, and each case is in one pair at most. Moves take time in
proportion to the cases; names are compared in pairs, of what did not move, `COMPARED_LIMIT` cases on a side
at most, and not at all where more are left: so many changed names are not to be told apart.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import pairwise
from typing import Final

PLACE_FLOOR: Final = 0.5
SCORE_FLOOR: Final = 0.7
MARGIN: Final = 0.1
#: Tests that moved from one place to another before what is left of both is compared.
COMPANION_FLOOR: Final = 2
#: Cases missing, and cases new, whose names are compared with each other.
COMPARED_LIMIT: Final = 200
#: Tests of one name, on either side, that are told apart by their places.
SAME_NAME_LIMIT: Final = 50
_NAME_SHARE: Final = 0.8
_PACE_OFFSET_MS: Final = 50

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_SEPARATOR = re.compile(r"[./\\:>\x1f]|::")

type Place = tuple[str, str, str]


@unique
class RenameKind(StrEnum):
    """What of a test changed."""

    MOVED = "moved"
    RENAMED = "renamed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A case that is gone, or one that is new."""

    case: int
    name: str
    parameters: str = ""
    class_name: str = ""
    file: str = ""
    #: The chain of suite names.
    path: str = ""
    variant: str = ""
    #: Milliseconds it took when last seen; None when not known.
    duration_ms: int | None = None

    @property
    def place(self) -> Place:
        """Where the test stands: suites, class and file. Some tools repeat the name in the class."""
        return self.path, self.class_name.removesuffix(self.name + self.parameters), self.file


@dataclass(frozen=True, slots=True)
class Twins:
    """A pair that looks like one test, with what speaks for it."""

    old: int
    new: int
    kind: RenameKind
    #: Dice's coefficient of the names, in [0, 1]: 1 for a move.
    name_likeness: float
    #: Of the places: 1 for a test that was renamed where it stands.
    place_likeness: float
    #: The shorter duration by the longer; None where one of them is not known.
    pace_likeness: float | None
    #: What the place was called and what it is now, shortened to what changed; for a renamed test, the place.
    old_place: str
    new_place: str
    #: Tests that made the same move, this one included.
    companions: int = 1


def twins_among(missing: Sequence[Candidate], new: Sequence[Candidate]) -> list[Twins]:
    """Pair what is gone with what is new; ordered by the old case. Empty when either is."""
    if not missing or not new:
        return []
    moved = _moved(missing, new)
    gone, came = _left(missing, new, moved)
    renamed: list[tuple[Candidate, Candidate]] = []
    on_the_way: list[tuple[Candidate, Candidate]] = []
    if len(gone) <= COMPARED_LIMIT and len(came) <= COMPARED_LIMIT:
        renamed = _renamed(gone, came, {})
        on_the_way = _renamed(*_left(gone, came, renamed), _ways_of_places(moved))
    found = [
        *_told(moved, RenameKind.MOVED),
        *_told(renamed, RenameKind.RENAMED),
        *_told(on_the_way, RenameKind.RENAMED),
    ]
    return sorted(found, key=lambda twins: twins.old)


def _left(
    missing: Sequence[Candidate], new: Sequence[Candidate], pairs: Sequence[tuple[Candidate, Candidate]]
) -> tuple[list[Candidate], list[Candidate]]:
    """Those that are in none of the pairs."""
    taken = {case for pair in pairs for case in (pair[0].case, pair[1].case)}
    return [one for one in missing if one.case not in taken], [one for one in new if one.case not in taken]


def _ways_of_places(moved: Sequence[tuple[Candidate, Candidate]]) -> dict[Place, Place]:
    """Where places went as a whole: all that moved from one, and nothing of another."""
    counts = Counter((old.place, new.place) for old, new in moved)
    from_here, to_there = Counter(old for old, _ in counts), Counter(new for _, new in counts)
    return {
        old: new
        for (old, new), count in counts.items()
        if count >= COMPANION_FLOOR and old != new and from_here[old] == to_there[new] == 1
    }


def _moved(missing: Sequence[Candidate], new: Sequence[Candidate]) -> list[tuple[Candidate, Candidate]]:
    found = list(_unchanged(missing, new))
    missing, new = _left(missing, new, found)
    old_by_name, new_by_name = _by(missing, _name_of), _by(new, _name_of)
    shared = sorted(old_by_name.keys() & new_by_name.keys())
    votes = _votes(old_by_name, new_by_name, shared)
    best_to = _clear_best((old, new, count) for (old, new), count in votes.items())
    best_from = _clear_best((new, old, count) for (old, new), count in votes.items())
    went = {old: new for old, new in best_to.items() if best_from.get(new) == old}
    taken = set(went.values())
    for old_place, new_place in _same_endings(old_by_name, new_by_name, shared).items():
        if old_place not in went and new_place not in taken:
            went[old_place] = new_place
    for name in shared:
        olds, news = old_by_name[name], new_by_name[name]
        is_alone = len(olds) == len(news) == 1
        found += [(olds[0], news[0])] if is_alone else _by_place(olds, news, went)
    ways = Counter(_way(old, new) for old, new in found)
    return [
        (old, new)
        for old, new in found
        if ways[_way(old, new)] > 1 or _place_likeness(old, new) >= PLACE_FLOOR
    ]


def _unchanged(
    missing: Sequence[Candidate], new: Sequence[Candidate]
) -> Iterable[tuple[Candidate, Candidate]]:
    """Pairs that differ in nothing that is told: what an identity is made of has changed."""

    def whole(one: Candidate) -> tuple[tuple[str, str, str], Place]:
        return _name_of(one), one.place

    old_here, new_here = _by(missing, whole), _by(new, whole)
    for key in sorted(old_here.keys() & new_here.keys()):
        if len(old_here[key]) == len(new_here[key]) == 1:
            yield old_here[key][0], new_here[key][0]


def _name_of(one: Candidate) -> tuple[str, str, str]:
    return one.name, one.parameters, one.variant


def _by[Key](candidates: Sequence[Candidate], key: Callable[[Candidate], Key]) -> dict[Key, list[Candidate]]:
    found: defaultdict[Key, list[Candidate]] = defaultdict(list)
    for one in sorted(candidates, key=lambda candidate: candidate.case):
        found[key(one)].append(one)
    return found


def _votes(
    old_by_name: Mapping[tuple[str, str, str], list[Candidate]],
    new_by_name: Mapping[tuple[str, str, str], list[Candidate]],
    shared: Sequence[tuple[str, str, str]],
) -> Counter[tuple[Place, Place]]:
    """How many names each place would give to each other."""
    votes: Counter[tuple[Place, Place]] = Counter()
    for name in shared:
        olds, news = old_by_name[name], new_by_name[name]
        if max(len(olds), len(news)) <= SAME_NAME_LIMIT:
            votes.update({(one.place, other.place) for one in olds for other in news})
    return votes


def _clear_best(votes: Iterable[tuple[Place, Place, int]]) -> dict[Place, Place]:
    """For each place the one with most votes, where no other has as many."""
    best: dict[Place, tuple[int, Place | None]] = {}
    for one, other, count in votes:
        most, _ = best.get(one, (0, None))
        if count > most:
            best[one] = (count, other)
        elif count == most:
            best[one] = (count, None)
    return {one: other for one, (_, other) in best.items() if other is not None}


def _same_endings(
    old_by_name: Mapping[tuple[str, str, str], list[Candidate]],
    new_by_name: Mapping[tuple[str, str, str], list[Candidate]],
    shared: Sequence[tuple[str, str, str]],
) -> dict[Place, Place]:
    """Where places went by what they are called: `shop/cart.py` to `store/cart.py`, and others the same way.

    For places whose tests are all called alike, so that names tell nothing.
    """
    olds = {one.place: one for name in shared for one in old_by_name[name]}
    news = {one.place: one for name in shared for one in new_by_name[name]}
    to_there, from_here = _closest(olds, news), _closest(news, olds)
    ways = {
        old: _way(olds[old], news[new]) for old, new in to_there.items() if from_here.get(new) == old != new
    }
    counts = Counter(ways.values())
    return {old: to_there[old] for old, way in ways.items() if counts[way] > 1}


def _closest(places: Mapping[Place, Candidate], others: Mapping[Place, Candidate]) -> dict[Place, Place]:
    """For each place the one among the others that ends as it does the farthest, where that is one."""
    by_ending: defaultdict[str, list[Place]] = defaultdict(list)
    for other, one in others.items():
        for ending in _endings(_words_for(one)):
            by_ending[ending].append(other)
    closest = {}
    for place, one in places.items():
        alike = next((by_ending[end] for end in _endings(_words_for(one)) if end in by_ending), [])
        if len(alike) == 1:
            closest[place] = alike[0]
    return closest


def _endings(text: str) -> list[str]:
    """The text, and what it ends with, part by part; the longest first."""
    return [text, *(text[len(text) - length :] for length in reversed(_ends(text)))]


def _by_place(
    olds: Sequence[Candidate], news: Sequence[Candidate], went: Mapping[Place, Place]
) -> Iterable[tuple[Candidate, Candidate]]:
    old_at, new_at = _by(olds, lambda one: one.place), _by(news, lambda one: one.place)
    for place, own in old_at.items():
        target = went.get(place)
        others = new_at.get(target, []) if target is not None else []
        if len(own) == len(others) == 1:
            yield own[0], others[0]


def _renamed(
    missing: Sequence[Candidate], new: Sequence[Candidate], ways: Mapping[Place, Place]
) -> list[tuple[Candidate, Candidate]]:
    """Pairs of like names in one place, or with `ways` in a place and where that went."""

    def went(one: Candidate) -> tuple[Place, str, str]:
        return ways.get(one.place, one.place), one.parameters, one.variant

    old_here, new_here = _by(missing, went), _by(new, _place_and_parameters)
    found: list[tuple[Candidate, Candidate]] = []
    for key in sorted(old_here.keys() & new_here.keys()):
        found += _clearly_alike(old_here[key], new_here[key])
    return found


def _place_and_parameters(one: Candidate) -> tuple[Place, str, str]:
    return one.place, one.parameters, one.variant


def _clearly_alike(
    olds: Sequence[Candidate], news: Sequence[Candidate]
) -> Iterable[tuple[Candidate, Candidate]]:
    new_names = [_Name.of(new.name) for new in news]
    scores: dict[tuple[int, int], float] = {}
    in_row: defaultdict[int, list[float]] = defaultdict(list)
    in_column: defaultdict[int, list[float]] = defaultdict(list)
    for row, old in enumerate(olds):
        old_name = _Name.of(old.name)
        for column, new in enumerate(news):
            is_other = old_name.numbers != new_names[column].numbers
            # Of one name in two places it is known already that nobody knows which went where.
            if is_other or (old.name == new.name and old.place != new.place):
                continue
            score = _score(old_name.likeness(new_names[column]), _pace_likeness(old, new))
            if score >= SCORE_FLOOR - MARGIN:
                scores[row, column] = score
                in_row[row].append(score)
                in_column[column].append(score)
    for (row, column), score in scores.items():
        if score >= SCORE_FLOOR and _is_ahead(score, in_row[row]) and _is_ahead(score, in_column[column]):
            yield olds[row], news[column]


def _is_ahead(score: float, scores: list[float]) -> bool:
    """Whether no other of the scores comes near; they are sorted on the way, the best first."""
    scores.sort(reverse=True)
    return score == scores[0] and (len(scores) == 1 or score - scores[1] >= MARGIN)


def _score(name: float, pace: float | None) -> float:
    return name if pace is None else _NAME_SHARE * name + (1 - _NAME_SHARE) * pace


def name_likeness(first: str, second: str) -> float:
    """Dice's coefficient of the names' words or pairs of letters, whichever is more; 1 when equal."""
    return _Name.of(first).likeness(_Name.of(second))


@dataclass(frozen=True, slots=True)
class _Name:
    """A name cut up once, to be compared with many."""

    whole: str
    words: Counter[str]
    pairs: Counter[str]
    numbers: Counter[str]

    @classmethod
    def of(cls, name: str) -> _Name:
        words = words_of(name)
        letters = "_".join(words)
        numbers = Counter(word for word in words if word.isdecimal())
        return cls(name, Counter(words), Counter(map("".join, pairwise(letters))), numbers)

    def likeness(self, other: _Name) -> float:
        if self.whole == other.whole:
            return 1.0
        return max(_dice(self.words, other.words), _dice(self.pairs, other.pairs))


def words_of(name: str) -> list[str]:
    """Split `testPlacesOrder_2x` into places, order, 2, x: in lower case, without the word test in front."""
    words = [word.lower() for word in _WORD.findall(name)]
    return words[1:] if len(words) > 1 and words[0] == "test" else words


def _dice(first: Counter[str], second: Counter[str]) -> float:
    """Twice what both hold by all that they hold, repeats counted; 0 when both are empty."""
    total = first.total() + second.total()
    if not total:
        return 0.0
    return 2 * sum(min(count, second[part]) for part, count in first.items()) / total


def _place_likeness(old: Candidate, new: Candidate) -> float:
    if old.place == new.place:
        return 1.0
    return _dice(Counter(words_of(" ".join(old.place))), Counter(words_of(" ".join(new.place))))


def _pace_likeness(old: Candidate, new: Candidate) -> float | None:
    if old.duration_ms is None or new.duration_ms is None:
        return None
    shorter, longer = sorted((old.duration_ms, new.duration_ms))
    return (shorter + _PACE_OFFSET_MS) / (longer + _PACE_OFFSET_MS)


def _way(old: Candidate, new: Candidate) -> tuple[str, str]:
    """What changed about the place, without what stayed before and after: tests of one move share it."""
    for before, after in (
        (old.file, new.file),
        (old.class_name, new.class_name),
        (old.path, new.path),
    ):
        if before != after:
            return changed_part(before, after)
    return _words_for(old), _words_for(new)


def _words_for(one: Candidate) -> str:
    return one.file or one.class_name or one.path


def _readable(place: str) -> str:
    return place.replace("\x1f", " / ")


def changed_part(before: str, after: str) -> tuple[str, str]:
    """Shorten `shop/cart/test_a.py` and `shop/basket/test_a.py` to `shop/cart` and `shop/basket`.

    What both end with goes, part by part; something of each always stays.
    """
    cut = 0
    for one, other in zip(_ends(before), _ends(after), strict=False):
        if before[len(before) - one :] != after[len(after) - other :]:
            break
        cut = one
    return before[: len(before) - cut], after[: len(after) - cut]


def _ends(text: str) -> list[int]:
    """How long the text's last part is, its last two, and so on, each with the separator before it."""
    return [len(text) - match.start() for match in _SEPARATOR.finditer(text) if match.start()][::-1]


def _told(pairs: Sequence[tuple[Candidate, Candidate]], kind: RenameKind) -> Iterable[Twins]:
    ways = Counter(_way(old, new) for old, new in pairs)
    for old, new in pairs:
        way = _way(old, new)
        yield Twins(
            old=old.case,
            new=new.case,
            kind=kind,
            name_likeness=name_likeness(old.name, new.name),
            place_likeness=_place_likeness(old, new),
            pace_likeness=_pace_likeness(old, new),
            old_place=_readable(way[0]),
            new_place=_readable(way[1]),
            companions=ways[way] if kind is RenameKind.MOVED else 1,
        )
