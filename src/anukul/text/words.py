"""Words, letters and scripts, by Unicode property.

`re` and its `\\w` break Devanagari words at every vowel sign (a mark, category Mc or Mn), so a word here is a
run of letters, marks and numbers, with the joiners that Indic and Arabic spelling puts inside words.
"""

from functools import cache

import regex

WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d]+")
LETTER = regex.compile(r"\p{L}")


def words(text: str) -> list[str]:
    """Return the words of a text in order, punctuation left out."""
    return list(WORD.findall(text))


@cache
def _script_letter(script: str) -> "regex.Pattern[str]":
    return regex.compile(rf"(?=\p{{L}})\p{{Script={script}}}")


def script_share(text: str, script: str) -> float:
    """Return the share of the letters of `text` in a Unicode script, 0 to 1; 0 without letters."""
    letters = len(LETTER.findall(text))
    if not letters:
        return 0.0
    return len(_script_letter(script).findall(text)) / letters
