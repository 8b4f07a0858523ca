"""The rules that drop a pair of texts: each has a name and a reason in words."""

from collections import Counter

import regex

from anukul.config import SynthSettings
from anukul.languages import Language
from anukul.synth.numerals import agreement, values
from anukul.text.identify import identify, in_script
from anukul.text.keys import match_key
from anukul.text.words import script_share, words

MIN_SCRIPT_SHARE = 0.5  # letters of a side in its language's script, as corpus.min_script_share by default
SHORT = 20  # characters: below this, a ratio of lengths says nothing ("हो।" is "Yes, it is.")
REPEATED_WORDS = 12  # a text this long is checked for loops
REPEATS = 4  # a list of three is style: "A is contained in X, B is contained in Y, C is contained in Z"
# A decoder in a loop repeats one word trigram; FineWeb-2 drops Nepali whose top trigram holds over .103 of the
# characters of a document. A sentence is shorter, so it takes half.
MAX_TRIGRAM_SHARE = 0.5
ADDRESS = regex.compile(r"\S+://\S+|www\.\S+|\S+@\S+")
PLAIN_WORD = regex.compile(
    r"[\p{Ll}\p{Lo}\p{Lm}][\p{Ll}\p{Lo}\p{Lm}\p{M}\u200c\u200d]+"
)  # no name, no formula
LONGEST_UNIT = 8  # words that a loop repeats
LOOPS = 6  # repeats right after each other: nobody writes "very" six times
# the same for letters inside a word, which a decoder of pieces falls into
LETTER_LOOP = regex.compile(r"([\p{L}\p{M}]{1,6}?)\1{9,}")


def judge_pair(
    source: str, target: str, base: Language, language: Language, settings: SynthSettings
) -> tuple[str, str] | None:
    """Return (rule, detail) of the first rule that drops a normalised pair, None to keep it.

    `source` is text of the `base` language, `target` of the language to learn.
    """
    for name, text in (("source", source), ("target", target)):
        if not match_key(text):
            return "empty_side", f"the {name} side holds no word"
    if match_key(source) == match_key(target):
        return "untranslated", "both sides are the same words"
    sides = (("source", source, base, target), ("target", target, language, source))
    for name, text, expected, other in sides:
        own = own_words(text, other)
        share = in_script(own, expected)
        if share < MIN_SCRIPT_SHARE and own:
            return (
                "wrong_script",
                f"{name}: {share:.2f} of the letters of its own words are {expected.script}",
            )
    for name, text, expected, _ in sides[0 if settings.source_language_check else 1 :]:
        verdict = identify(text, expected)
        if verdict.language != expected.code:
            return "wrong_language", f"{name}: {verdict.detail}"
    return _judge_likeness(source, target, base, language, settings)


def _judge_likeness(
    source: str, target: str, base: Language, language: Language, settings: SynthSettings
) -> tuple[str, str] | None:
    """Judge the two sides against each other."""
    longer, shorter = max(len(source), len(target)), min(len(source), len(target))
    if longer > SHORT and longer > settings.max_length_ratio * shorter:
        detail = f"{longer} characters against {shorter}, more than {settings.max_length_ratio} to 1"
        return "length_ratio", detail
    share = copy_share(source, target)
    if share > settings.max_copy_share:
        return "copied", f"{share:.2f} of the target's words stand in the source"
    for name, text, own, other in (("source", source, base, target), ("target", target, language, source)):
        span = untranslated_span(text, own.script, other)
        if len(span) >= settings.max_untranslated_words:
            return "untranslated_span", f"{name}: {len(span)} words in a row: {' '.join(span)[:120]}"
    for name, text in (("source", source), ("target", target)):
        reason = loop(text)
        if reason:
            return "repetition", f"{name}: {reason}"
    ours, theirs = values(source), values(target)
    agreed = agreement(ours, theirs)
    if agreed < settings.min_number_agreement:
        return "numbers_differ", f"{' '.join(ours)} against {' '.join(theirs)}: {agreed:.2f} agree"
    return None


def own_words(text: str, other: str) -> str:
    """Return the words of a text that the other side does not have: names and acronyms may stand in any script."""
    given = set(match_key(other).split())
    return " ".join(word for word in match_key(text).split() if word not in given)


def copy_share(source: str, target: str) -> float:
    """Return the share of the target's words, numbers and addresses apart, that also stand in the source, 0 to 1."""
    given = set(match_key(source).split())
    held = [word for word in match_key(ADDRESS.sub(" ", target)).split() if not word.isdigit()]
    return sum(word in given for word in held) / len(held) if held else 0.0


def untranslated_span(text: str, script: str, other: str) -> list[str]:
    """Return the longest run of words of a text that are not of its script and stand in a row in the other side.

    Addresses are left out. Words with a capital or a digit, which are names, acronyms and formulas, do not count, nor
    do they break a run.
    """
    given = f" {' '.join(_lettered(other))} "
    longest: list[str] = []
    run: list[str] = []
    for word in _lettered(text):
        held = [*run, word]
        while held and f" {' '.join(held)} " not in given:
            held = held[1:]
        run = held if script_share(word, script) < MIN_SCRIPT_SHARE else []
        longest = max(longest, run, key=len)
    return longest


def _lettered(text: str) -> list[str]:
    return [word for word in words(ADDRESS.sub(" ", text)) if PLAIN_WORD.fullmatch(word)]


def loop(text: str) -> str:
    """Return in which loop a text runs, "" where it runs in none."""
    match = LETTER_LOOP.search(text)
    if match:
        return f"{match.group(1)!r} follows itself {len(match.group()) // len(match.group(1))} times"
    found = words(text)
    repeated = trigram_share(found)
    if repeated > MAX_TRIGRAM_SHARE:
        return f"one run of three words makes {repeated:.2f} of the text"
    for size in range(1, LONGEST_UNIT + 1):
        same = 0
        for place in range(size, len(found)):
            same = same + 1 if found[place] == found[place - size] else 0
            if same >= size * (LOOPS - 1):
                return f"'{' '.join(found[place - size + 1 : place + 1])}' follows itself {LOOPS} times"
    return ""


def trigram_share(found: list[str]) -> float:
    """Return the share of words inside their most frequent trigram, 0 to 1; 0 unless it comes four times."""
    if len(found) < REPEATED_WORDS:
        return 0.0
    counts = Counter(zip(found, found[1:], found[2:], strict=False))
    most = max(counts.values())
    return min(1.0, 3 * most / len(found)) if most >= REPEATS else 0.0
