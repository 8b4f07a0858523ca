"""The rules that drop a pair of texts: each has a name and a reason in words."""

from collections import Counter

from anukul.config import SynthSettings
from anukul.languages import Language
from anukul.text.identify import identify, in_script
from anukul.text.keys import match_key, numbers
from anukul.text.words import words

MIN_SCRIPT_SHARE = 0.5  # letters of a side in its language's script, as corpus.min_script_share by default
SHORT = 20  # characters: below this, a ratio of lengths says nothing ("हो।" is "Yes, it is.")
REPEATED_WORDS = 12  # a text this long is checked for loops
REPEATS = 4  # a list of three is style: "A is contained in X, B is contained in Y, C is contained in Z"
# A decoder in a loop repeats one word trigram; FineWeb-2 drops Nepali whose top trigram holds over .103 of the
# characters of a document. A sentence is shorter, so it takes half.
MAX_TRIGRAM_SHARE = 0.5


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
    for name, text, expected in (("source", source, base), ("target", target, language)):
        share = in_script(text, expected)
        if share < MIN_SCRIPT_SHARE:
            return "wrong_script", f"{name}: {share:.2f} of the letters are {expected.script}"
    verdict = identify(target, language)
    if verdict.language != language.code:
        return "wrong_language", f"target: {verdict.detail}"
    return _judge_likeness(source, target, settings)


def _judge_likeness(source: str, target: str, settings: SynthSettings) -> tuple[str, str] | None:
    """Judge the two sides against each other."""
    longer, shorter = max(len(source), len(target)), min(len(source), len(target))
    if longer > SHORT and longer > settings.max_length_ratio * shorter:
        detail = f"{longer} characters against {shorter}, more than {settings.max_length_ratio} to 1"
        return "length_ratio", detail
    share = copy_share(source, target)
    if share > settings.max_copy_share:
        return "copied", f"{share:.2f} of the target's words stand in the source"
    for name, text in (("source", source), ("target", target)):
        repeated = trigram_share(text)
        if repeated > MAX_TRIGRAM_SHARE:
            return "repetition", f"{name}: one run of three words makes {repeated:.2f} of the text"
    ours, theirs = Counter(numbers(source)), Counter(numbers(target))
    if ours and theirs and not ours & theirs:
        return "numbers_differ", f"{' '.join(ours)} against {' '.join(theirs)}"
    return None


def copy_share(source: str, target: str) -> float:
    """Return the share of the target's words, numbers apart, that also stand in the source, 0 to 1."""
    given = set(match_key(source).split())
    held = [word for word in match_key(target).split() if not word.isdigit()]
    return sum(word in given for word in held) / len(held) if held else 0.0


def trigram_share(text: str) -> float:
    """Return the share of a text's words inside its most frequent trigram, 0 to 1; 0 unless it comes four times."""
    found = words(text)
    if len(found) < REPEATED_WORDS:
        return 0.0
    counts = Counter(zip(found, found[1:], found[2:], strict=False))
    most = max(counts.values())
    return min(1.0, 3 * most / len(found)) if most >= REPEATS else 0.0
