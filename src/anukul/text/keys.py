"""Match keys: what two texts share when a reader would call them the same.

Keys are for comparing only; the text itself keeps its joiners, dandas and digits.
"""

import unicodedata

import regex
import xxhash

NOT_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}]+")  # punctuation, danda and symbols; joiners are folded before
JOINERS = str.maketrans("", "", "\u200b\u200c\u200d\u2060\ufeff\u00ad")
DIGIT = regex.compile(r"\p{Nd}")
RUN_OF_DIGITS = regex.compile(r"\p{Nd}+")


def fold_digits(text: str) -> str:
    """Return `text` with the decimal digits of every script as 0-9, so that २०२४ and 2024 are one number."""
    return DIGIT.sub(lambda match: str(unicodedata.decimal(match.group())), text)


def match_key(text: str) -> str:
    """Return the key of a text: NFC, casefolded, joiners and punctuation dropped, digits 0-9.

    The danda goes with the punctuation: it is written attached or spaced, and both are the same sentence.
    """
    folded = unicodedata.normalize("NFC", text).casefold().translate(JOINERS)
    folded = unicodedata.normalize("NFC", folded)
    return " ".join(NOT_WORD.sub(" ", fold_digits(folded)).split())


def hash_key(*texts: str) -> int:
    """Return 128 bits that stand for the match keys of `texts`, in order: small in a set of millions."""
    return xxhash.xxh3_128_intdigest(
        "\n".join(match_key(text) for text in texts).encode("utf-8", "surrogatepass")
    )


def numbers(text: str) -> list[str]:
    """Return the runs of digits of a text as 0-9 without leading zeros, thousands separators joined."""
    joined = regex.sub(r"(?<=\p{Nd}),(?=\p{Nd})", "", text)
    return [fold_digits(run).lstrip("0") or "0" for run in RUN_OF_DIGITS.findall(joined)]
