"""The numbers that a text writes in digits, the same whatever digits and separators it writes them with."""

import regex

from anukul.text.keys import fold_digits

NUMBER = regex.compile(r"\p{Nd}+(?:[.,]\p{Nd}+)*")
# 1,200,000 or 12,00,000; the last group has three digits in both
GROUPED = regex.compile(r"\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})*,\d{3}")


def values(text: str) -> list[str]:
    """Return the numbers of a text in order: 0-9, no leading zeros, no thousands separators, no zeros after a point.

    १,२०,००० and 120,000 are 120000; 3.50 is 3.5. A date is its parts: 2020-03-15 and 15.3.2020 hold 2020, 3 and 15.
    Numbers that are written as words are not seen.
    """
    found: list[str] = []
    for match in NUMBER.finditer(text):
        run = fold_digits(match.group())
        whole, point, part = run.rpartition(".")
        if not point:
            whole, part = run, ""
        if "." in whole or "," in part:
            found += [_bare(one) for one in regex.split("[.,]", run)]
        elif "," in whole and not GROUPED.fullmatch(whole):
            found += [_bare(one) for one in run.split(",")]
        else:
            found.append(_bare(whole.replace(",", "") + point + part))
    return found


def _bare(number: str) -> str:
    whole, point, part = number.partition(".")
    part = part.rstrip("0") if point else ""
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def significant(number: str) -> str:
    """Return the digits that are left of a number when its size is forgotten: 5 for 5 million and for 50 lakh."""
    return number.replace(".", "").strip("0") or "0"


def agreement(first: list[str], second: list[str]) -> float:
    """Return which share of the numbers of the side with fewer the other side has too, 0 to 1; 1 where one has none.

    Each number counts once. One that is not there as it is may be there in another unit: by its significant digits.
    """
    ours, theirs = set(first), set(second)
    if not ours or not theirs:
        return 1.0
    fewer, more = (ours, theirs) if len(ours) <= len(theirs) else (theirs, ours)
    left = {significant(one) for one in more - fewer}
    same = sum(one in more or significant(one) in left for one in fewer)
    return same / len(fewer)
