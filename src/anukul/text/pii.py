"""Mask e-mail addresses and telephone numbers, in the digits of any script.

A run of digits is a telephone number when it is written as one: in a national form of the language's country
(`phone` in its YAML), with + or 00 before a country code, or after a word such as फोन. Everything else stays:
amounts, dates, years, ISBNs, and lists of numbers.
"""

import re
from collections.abc import Iterator
from functools import cache

import regex

from anukul.languages import Language, Phone, load
from anukul.text.keys import fold_digits

EMAIL_MASK = "[email]"
PHONE_MASK = "[phone]"
# RFC 5321's dot-atoms in ASCII, as far as they are seen in text; a full stop after the address is no part of it.
EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
    r"[A-Za-z]{2,24}(?![A-Za-z])"
)
# A number as it may be written: digits with one separator between groups; at most two where ") " or " (" stand.
DIGITS = "0-9\u0660-\u0669\u06f0-\u06f9\u0966-\u096f\u09e6-\u09ef"
RUN = re.compile(
    rf"(?<![{DIGITS}])(?<![{DIGITS}][.,/:\u2013-])(?:\+ ?|\()?[{DIGITS}]"
    rf"(?:(?: ?[-\u2010\u2011\u2013] ?|[ .]|\) ?| ?\()?[{DIGITS}]){{5,17}}(?![{DIGITS}]|[.,/:][{DIGITS}])"
)
NEAR = 24  # characters before and after a number that are looked at
INTERNATIONAL = re.compile(r"00[1-9]")
CURRENCIES = frozenset("$₹€£¥#№")
LEAST, MOST = 8, 15  # digits of an international number: ITU-T E.164 allows 15
LEAST_NAMED = 6  # digits after a word that announces a telephone number: a landline without its area
NOT_DIGIT = re.compile(r"[^0-9]+")
GROUP = re.compile(r"[0-9]+")
PART = re.compile(r"[^ ]+")
LIST = re.compile(r"[\s,/]{1,4}")  # between two numbers of one list
YEARS = re.compile(r"(?:1[89]|20)[0-9]{2}")
ZEROS = 5  # at the end of a number: an amount
LINK = r"(?:\s?(?:no|number|#)\.?)?[\s:：.,()/\u2013-]*$"


@cache
def _national(patterns: tuple[str, ...]) -> "re.Pattern[str]":
    return re.compile("|".join(f"(?:{pattern})" for pattern in patterns) or r"(?!)")


@cache
def _ending_with(words: frozenset[str], link: str) -> "regex.Pattern[str]":
    found = "|".join(regex.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    return regex.compile(rf"(?i)(?<![\p{{L}}\p{{M}}])(?:{found}){link}")


@cache
def _beginning_with(words: frozenset[str]) -> "regex.Pattern[str]":
    found = "|".join(regex.escape(word) for word in sorted(words, key=lambda word: (-len(word), word)))
    return regex.compile(rf"(?i)\s?(?:{found})(?![\p{{L}}])")


@cache
def _phone(code: str) -> Phone:
    """Return a language's forms and words joined with those of English, which are written everywhere."""
    own, english = load(code).phone, load("eng_Latn").phone
    return Phone(numbers=own.numbers, words=own.words | english.words, amounts=own.amounts | english.amounts)


def mask(text: str, language: Language | None = None) -> tuple[str, dict[str, int]]:
    """Return the text with addresses as [email] and numbers as [phone], and how many of each; idempotent.

    Without a language only international numbers and those after "phone", "tel" and the like are seen.
    """
    counts: dict[str, int] = {}
    while True:  # what stands beside a mask may be seen better without what it hides
        masked = _mask(text, language, counts)
        if masked == text:
            return text, counts
        text = masked


def _mask(text: str, language: Language | None, counts: dict[str, int]) -> str:
    if "@" in text:
        text, found = EMAIL.subn(EMAIL_MASK, text)
        if found:
            counts["email"] = counts.get("email", 0) + found
    if RUN.search(text) is None:
        return text
    phone = _phone(language.code if language is not None else "eng_Latn")
    kept: list[str] = []
    end = 0
    for start, stop in _phones(text, phone):
        kept += [text[end:start], PHONE_MASK]
        end = stop
        counts["phone"] = counts.get("phone", 0) + 1
    return "".join([*kept, text[end:]]) if kept else text


def _phones(text: str, phone: Phone) -> Iterator[tuple[int, int]]:
    """Yield where the telephone numbers of a text stand."""
    last = -1
    for match in RUN.finditer(text):
        announced = last >= 0 and LIST.fullmatch(text, last, match.start()) is not None
        if _is_phone(text, match.start(), match.end(), phone, announced):
            last = match.end()
            yield match.start(), last
            continue
        parts = [part.span() for part in PART.finditer(text, match.start(), match.end())]
        for start, stop in parts if len(parts) > 1 else ():
            if stop - start > LEAST and _is_phone(text, start, stop, phone, False):
                last = stop
                yield start, stop


def _is_phone(text: str, start: int, stop: int, phone: Phone, announced: bool) -> bool:
    written = fold_digits(text[start:stop])
    plain = NOT_DIGIT.sub("", written)
    if written.startswith(("+", "(+")) or INTERNATIONAL.match(written):
        return LEAST <= len(plain.lstrip("0")) <= MOST
    groups = GROUP.findall(written)
    if min(map(len, groups)) < 2 or plain.endswith("0" * ZEROS) or all(map(YEARS.fullmatch, groups)):
        return False
    before = text[max(0, start - NEAR) : start]
    if _ending_with(phone.amounts | CURRENCIES, r"[\s:：.\u2013-]*$").search(before):
        return False
    if _beginning_with(phone.amounts).match(text[stop : stop + NEAR]):
        return False
    if _national(phone.numbers).fullmatch(plain):
        return True
    if not LEAST_NAMED <= len(plain) <= MOST:
        return False
    return announced or _ending_with(phone.words, LINK).search(before) is not None
