"""Words, letters and scripts, by Unicode property.

`re` and its `\\w` break Devanagari words at every vowel sign (a mark, category Mc or Mn), so a word here is a
run of letters, marks and numbers, with the joiners that Indic and Arabic spelling puts inside words.
"""

from functools import cache

import regex

WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d]+")
LETTER = regex.compile(r"\p{L}")
# What a text writes its sounds with. A vowel is a letter in Latin and mostly a sign in Devanagari: by letters alone
# a Nepali sentence with two abbreviations is Latin. Accents belong to no script and count for none.
WRITTEN = r"(?=[\p{L}\p{M}])\P{Script=Inherited}"
SIGN = regex.compile(WRITTEN)


def words(text: str) -> list[str]:
    """Return the words of a text in order, punctuation left out."""
    return list(WORD.findall(text))


@cache
def script_sign(script: str) -> "regex.Pattern[str]":
    """Return the pattern of a letter or vowel sign of a Unicode script."""
    return regex.compile(rf"{WRITTEN}(?<=\p{{Script={script}}})")


def script_share(text: str, script: str) -> float:
    """Return the share of the letters and vowel signs of `text` in a Unicode script, 0 to 1; 0 without any."""
    signs = len(SIGN.findall(text))
    if not signs:
        return 0.0
    return len(script_sign(script).findall(text)) / signs
