"""Split a paragraph into sentences by the enders of its language.

The danda, `?` and `!` always end a sentence. A full stop ends one unless it stands in a number, after a known
abbreviation, after an initial, or after the number of a list item. A closing mark belongs to the sentence before it,
also behind a space. In scripts with capitals a small letter after a closing quotation mark goes on with the sentence;
Devanagari has none, so there the mark ends one, unless a word such as भनेर follows (`quotatives` in the YAML).
"""

from functools import cache

import regex

from anukul.languages import Language

CLOSERS = r"[\"'”’»)\]}]*"
LAST_WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d.]+$")
LIST_NUMBER = regex.compile(r"\s*\(?\p{Nd}{1,3}$")
# One letter with its marks and conjuncts: र, प्र, J.
INITIAL = regex.compile(r"(?:\p{L}\p{M}*(?:\u094d[\u200c\u200d]?\p{L}\p{M}*)*)$")
QUOTES = "\"'”’»"
SPACED_CLOSERS = regex.compile(r"[^\S\n]+[”’»)\]}]+(?=\s|$)")
SPACED_STRAIGHT = regex.compile(r"[^\S\n]+\"(?=\s|$)")  # closes where another one is open
NEXT_WORD = regex.compile(r"\s*([\p{L}\p{M}\u200c\u200d]+)")
LOWER_CASE = regex.compile(
    r"\s*\p{Ll}"
)  # after a quotation, the sentence that quotes goes on: "Really?" he asked.


@cache
def _ender(enders: str) -> "regex.Pattern[str]":
    sure = "".join(regex.escape(mark) for mark in enders if mark != ".")
    stop = r"|(?:\.+|…)" + CLOSERS + r"(?=\s|$)" if "." in enders else ""
    return regex.compile(rf"(?:\.*[{sure}][{sure}.]*{CLOSERS}){stop}")


def split_sentences(text: str, language: Language) -> list[str]:
    """Return the sentences of a text, stripped and non-empty; enders stay with their sentence.

    A line break always ends a sentence. No character but white space is lost.
    """
    pattern = _ender(language.sentence_enders)
    found: list[str] = []
    for line in text.split("\n"):
        start = seen = quotes = 0
        for match in pattern.finditer(line):
            if match.group()[0] == "." and _keeps_going(line, start, match, language):
                continue
            quotes += line.count('"', seen, match.end())
            seen = match.end()
            end = _closed(line, seen, quotes % 2 == 1)
            if line[end - 1] in QUOTES and _goes_on(line, end, language):
                continue
            sentence = line[start:end].strip()
            if sentence:
                found.append(sentence)
            start = end
        rest = line[start:].strip()
        if rest:
            found.append(rest)
    return found


def _closed(line: str, end: int, opened: bool) -> int:
    """Return where a sentence ends whose ender ends at `end`: behind a closing mark that stands after a space.

    `opened` says whether one of two straight quotation marks stands before.
    """
    closers = SPACED_CLOSERS.match(line, end)
    if closers is None and opened:
        closers = SPACED_STRAIGHT.match(line, end)
    return closers.end() if closers else end


def _goes_on(line: str, end: int, language: Language) -> bool:
    """Say whether a sentence goes on after the quotation that ends at `end`."""
    if LOWER_CASE.match(line, end):
        return True
    word = NEXT_WORD.match(line, end)
    return word is not None and word.group(1) in language.quotatives


def _keeps_going(line: str, start: int, match: "regex.Match[str]", language: Language) -> bool:
    """Say whether the full stop at `match` is part of a sentence: abbreviation, initial or list number."""
    if match.group().startswith("..") or not line[match.end() :].strip():
        return False
    if any(mark in match.group() for mark in language.sentence_enders if mark != "."):
        return False
    before = line[start : match.start()]
    if LIST_NUMBER.fullmatch(before):
        return True
    word = LAST_WORD.search(before)
    if word is None:
        return False
    text = word.group()
    if text in language.abbreviations or text.casefold() in language.abbreviations:
        return True
    last = text.rpartition(".")[2]
    if INITIAL.fullmatch(last):
        return "." in text or last not in language.function_words
    return False
