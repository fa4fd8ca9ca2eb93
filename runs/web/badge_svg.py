"""A badge as SVG: two fields of text, each as wide as its words.

Whoever shows it has fonts of their own, so the width is reckoned with Verdana's metrics and written down: the
text is set to it whatever the font. White on each colour has a contrast of at least 4.5 to 1.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from django.utils.html import escape

GREY, GREEN, RED, AMBER, SLATE = "#3d444d", "#1a7f37", "#c2202e", "#8a5a00", "#59636e"
_SIZE: Final = 11
_HEIGHT: Final = 20
_PADDING: Final = 7
#: Widths of Verdana's characters from the space on, in thousandths of its size.
_WIDTHS: Final = (
    *(352, 394, 459, 818, 636, 1076, 727, 269, 454, 454, 636, 818, 364, 454, 364, 454),
    *(636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 454, 454, 818, 818, 818, 545),
    *(1000, 684, 686, 698, 771, 632, 575, 775, 751, 421, 455, 693, 557, 843, 748, 787),
    *(603, 787, 695, 684, 616, 732, 684, 989, 685, 615, 685, 454, 454, 454, 818, 636),
    *(636, 601, 623, 521, 623, 596, 352, 623, 633, 274, 344, 592, 274, 973, 633, 607),
    *(623, 623, 427, 521, 394, 633, 592, 818, 592, 592, 525, 635, 454, 635, 818),
)
_MARKS: Final = {"·": 364, "…": 818}
_OTHER, _WIDE = 700, 1000


def text_width(text: str) -> float:
    """Pixels that a text takes, up to a few per cent whatever the font."""
    return sum(_width(character) for character in text) * _SIZE / 1000


def badge_svg(label: str, message: str, colour: str) -> str:
    """The picture. `label` and `message` are one line each, inert and short; both are escaped here."""
    left, right = round(text_width(label), 1), round(text_width(message), 1)
    split, width = round(left + 2 * _PADDING, 1), round(left + right + 4 * _PADDING, 1)
    said = escape(f"{label}: {message}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" '
        f'viewBox="0 0 {width} {_HEIGHT}" role="img" aria-label="{said}"><title>{said}</title>'
        f'<clipPath id="r"><rect width="{width}" height="{_HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)">'
        f'<rect width="{split}" height="{_HEIGHT}" fill="{GREY}"/>'
        f'<rect x="{split}" width="{round(width - split, 1)}" height="{_HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" font-family="Verdana,\'DejaVu Sans\',Geneva,sans-serif" font-size="{_SIZE}">'
        f"{_text(label, _PADDING, left)}{_text(message, split + _PADDING, right)}</g></svg>"
    )


def _text(text: str, x: float, width: float) -> str:
    if not text:
        return ""
    return (
        f'<text x="{round(x, 1)}" y="14" textLength="{width}" lengthAdjust="spacingAndGlyphs">'
        f"{escape(text)}</text>"
    )


def _width(character: str) -> int:
    place = ord(character) - ord(" ")
    if 0 <= place < len(_WIDTHS):
        return _WIDTHS[place]
    if character in _MARKS:
        return _MARKS[character]
    if unicodedata.combining(character):
        return 0
    return _WIDE if unicodedata.east_asian_width(character) in "WF" else _OTHER
