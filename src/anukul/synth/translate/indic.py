"""The form that IndicTrans2 reads and writes: one script for all Brahmic ones, 0-9, words and punctuation apart.

After the description in Gala et al. 2023 (IndicTrans2, section 3). The Brahmic blocks of Unicode are laid out alike
(Unicode Standard, chapter 12), so a letter of one is that of another at the same place of its block.
"""

import unicodedata

import regex

from anukul.languages import Language
from anukul.text.keys import fold_digits

BLOCK = 0x80
DEVANAGARI = 0x0900
# Unicode script name -> first code point of its block
BRAHMIC = {
    "Bengali": 0x0980,
    "Gurmukhi": 0x0A00,
    "Gujarati": 0x0A80,
    "Oriya": 0x0B00,
    "Tamil": 0x0B80,
    "Telugu": 0x0C00,
    "Kannada": 0x0C80,
    "Malayalam": 0x0D00,
}
SHARED = {0x64, 0x65}  # danda and double danda stand in Devanagari's block for all scripts
LIKE = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "`": "'", "–": "-", "—": "-"}
)
MARK = regex.compile(r"[^\p{L}\p{M}\p{N}\s\u200c\u200d]")
LAST_WORD = regex.compile(r"[\p{L}\p{M}.]+$")
# An English clitic stands apart with its apostrophe, as the Moses tokenizer writes it: Ram 's, don 't
ATTACHED = regex.compile(r"\s+(?=[.,:;!?%)\]}।॥]|'(?:s|t|re|ve|ll|d|m)\b)|(?<=[(\[{])\s+")
QUOTED = regex.compile(r"([\"'])\s+((?:(?!\1).)*?)\s+\1")


def before_indictrans(text: str, language: Language) -> str:
    """Return a text as IndicTrans2 reads it."""
    text = fold_digits(unicodedata.normalize("NFC", text)).translate(LIKE)
    text = MARK.sub(lambda match: _apart(match, language), text)
    if language.script in BRAHMIC:
        text = _move(text, BRAHMIC[language.script], DEVANAGARI)
    return " ".join(text.split())


def _apart(match: "regex.Match[str]", language: Language) -> str:
    """Set a mark apart, unless it is part of a number, or of a Latin word."""
    whole, start, end, mark = match.string, match.start(), match.end(), match.group()
    before, behind = whole[start - 1 : start], whole[end : end + 1]
    if mark in ".,:/" and before.isdecimal() and behind.isdecimal():
        return mark
    if language.script == "Latin" and before.isalpha():
        if behind.isalpha():
            return {"-": "-", ".": ".", "'": " '"}.get(mark, f" {mark} ")
        word = LAST_WORD.search(whole[:start])
        if mark == "." and whole[end:].strip() and word:
            last = word.group()
            if len(last) == 1 or last.casefold() in language.abbreviations:
                return mark
    return f" {mark} "


def after_indictrans(text: str, language: Language) -> str:
    """Return what IndicTrans2 wrote as a reader would write it."""
    if language.script in BRAHMIC:
        text = _move(text, DEVANAGARI, BRAHMIC[language.script])
    text = QUOTED.sub(r"\1\2\1", ATTACHED.sub("", text))
    return " ".join(text.split())


def _move(text: str, start: int, to: int) -> str:
    return "".join(
        chr(point - start + to)
        if start <= (point := ord(character)) < start + BLOCK and point - start not in SHARED
        else character
        for character in text
    )
