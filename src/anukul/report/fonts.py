"""A font for words in any script: matplotlib shapes them where it is built with libraqm (3.11 and later)."""

import unicodedata
from functools import cache

DEFAULT = "DejaVu Sans"  # ships with matplotlib
PREFERRED = ("Noto Sans", "Mukta", "Lohit", "Kohinoor", "Nirmala", "Mangal")


def families_for(text: str) -> list[str] | None:
    """Return the font families that draw `text` rightly, None where this machine cannot.

    It cannot when no font has the letters, or when letters must be joined or moved (vowel signs, conjuncts) and this
    matplotlib does not shape text.
    """
    wanted = frozenset(text) - {" ", "\u200c", "\u200d"}
    missing = wanted - _letters_of(DEFAULT)
    if any(unicodedata.category(letter)[0] == "M" for letter in wanted) and not shapes():
        return None
    if not missing:
        return [DEFAULT]
    found = _family_with(missing)
    return [DEFAULT, found] if found else None


@cache
def shapes() -> bool:
    """Return whether matplotlib lays text out with libraqm, so that conjuncts and vowel signs come out right."""
    from matplotlib import ft2font

    return hasattr(ft2font, "__libraqm_version__")


@cache
def _family_with(letters: frozenset[str]) -> str | None:
    from matplotlib import font_manager, ft2font

    def rank(entry: font_manager.FontEntry) -> tuple[int, int, str]:
        order = next((i for i, name in enumerate(PREFERRED) if entry.name.startswith(name)), len(PREFERRED))
        return order, abs(int(entry.weight) - 400) if str(entry.weight).isdigit() else 1000, entry.name

    for entry in sorted(font_manager.fontManager.ttflist, key=rank):
        if entry.style != "normal" or not entry.fname.endswith((".ttf", ".otf")):
            continue
        try:
            font = ft2font.FT2Font(entry.fname)
        except (OSError, RuntimeError):  # a font that was removed or is damaged is as good as none
            continue
        if all(font.get_char_index(ord(letter)) for letter in letters):
            return entry.name
    return None


@cache
def _letters_of(family: str) -> frozenset[str]:
    from matplotlib import font_manager, ft2font

    font = ft2font.FT2Font(font_manager.findfont(family))
    return frozenset(chr(code) for code in font.get_charmap())
