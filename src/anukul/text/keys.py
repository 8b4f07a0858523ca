"""Match keys: what two texts share when a reader would call them the same.

Keys are for comparing only; the text itself keeps its joiners, dandas and digits.
"""

import unicodedata
from functools import cache

import regex
import xxhash

KEY_WORD = regex.compile(
    r"[\p{L}\p{M}\p{N}]+"
)  # danda, punctuation and symbols part words; joiners are gone by then
EYELASH = "\u0931\u094d"  # ऱ्, another spelling of र् with a joiner: गऱ्यो and गर्‍यो are one word
JOINERS = ("\u200d", "\u200c", "\u200b", "\u2060", "\ufeff", "\u00ad")
DIGIT = regex.compile(r"\p{Nd}")
OTHER_DIGIT = regex.compile(r"[^\P{Nd}0-9]")
RUN_OF_DIGITS = regex.compile(r"\p{Nd}+")


@cache
def digits() -> dict[int, str]:
    """Return what each decimal digit of Unicode but 0-9 is as 0-9, by code point; one that is not known stays."""
    everything = "".join(map(chr, range(0x80, 0x20000)))
    found = OTHER_DIGIT.findall(everything)
    return {ord(digit): str(unicodedata.decimal(digit, digit)) for digit in found}


def fold_digits(text: str) -> str:
    """Return `text` with the decimal digits of every script as 0-9, so that २०२४ and 2024 are one number."""
    return text.translate(digits()) if OTHER_DIGIT.search(text) else text


def fold(text: str) -> str:
    """Return `text` NFC, casefolded, joiners dropped, ऱ् as र्; `match_key` folds digits and punctuation too."""
    text = unicodedata.normalize("NFC", text).casefold()
    for joiner in JOINERS:
        text = text.replace(joiner, "")
    return unicodedata.normalize("NFC", text).replace(EYELASH, "\u0930\u094d")


def match_key(text: str) -> str:
    """Return the key of a text: NFC, casefolded, joiners and punctuation dropped, digits 0-9.

    The danda goes with the punctuation: it is written attached or spaced, and both are the same sentence.
    """
    return " ".join(KEY_WORD.findall(fold_digits(fold(text))))


def hash_key(*texts: str) -> int:
    """Return 128 bits that stand for the match keys of `texts`, in order: small in a set of millions."""
    return xxhash.xxh3_128_intdigest(
        "\n".join(match_key(text) for text in texts).encode("utf-8", "surrogatepass")
    )


def numbers(text: str) -> list[str]:
    """Return the runs of digits of a text as 0-9 without leading zeros, thousands separators joined."""
    joined = regex.sub(r"(?<=\p{Nd}),(?=\p{Nd})", "", text)
    return [fold_digits(run).lstrip("0") or "0" for run in RUN_OF_DIGITS.findall(joined)]
