"""What can be measured on a generated text without a judge: language, script, repetition, length. Pure functions."""

from dataclasses import dataclass

from anukul.languages import Language
from anukul.text.identify import identify, in_script
from anukul.text.words import words

GRAM = 4  # words; seq-rep-4 of Welleck et al. 2020 (arXiv 1908.04319)
LOOP_CHARACTERS = 12  # a loop is at least this long,
LOOP_TURNS = 3  # and goes round at least this often
LOOP_LOOK_BACK = 600  # characters at the end of a text that are searched for a loop
OTHER_SCRIPT = "other script"
NO_LETTERS = "no letters"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Measures of one text; `identified` is a language code, "other script" or "no letters"."""

    identified: str
    language: float
    script: float
    function_words: float
    repetition: float
    loop: float
    words: int


def measure(text: str, language: Language) -> Fidelity:
    """Return the measures of a text that should be in `language`.

    The language identification takes a text without evidence for another language as the expected one; gibberish in
    the right letters therefore counts as right, and only `function_words` tells it from the language.
    """
    found = words(text)
    share = in_script(text, language)
    identified = _identified(text, language, share)
    return Fidelity(
        identified=identified,
        language=float(identified == language.code),
        script=share,
        function_words=_share(sum(_is_function_word(word, language) for word in found), len(found)),
        repetition=repetition(found),
        loop=float(ends_in_loop(text)),
        words=len(found),
    )


def _identified(text: str, language: Language, share: float) -> str:
    if not any(character.isalpha() for character in text):
        return NO_LETTERS
    return identify(text, language).language if share >= 0.5 else OTHER_SCRIPT


def _is_function_word(word: str, language: Language) -> bool:
    return word in language.function_words or word.lower() in language.function_words


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def repetition(found: list[str], size: int = GRAM) -> float:
    """Return the share of word n-grams that stood before in the text: 1 - distinct / all; 0 where there is none."""
    grams = [tuple(found[start : start + size]) for start in range(len(found) - size + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def ends_in_loop(text: str) -> bool:
    """Say whether the end of a text repeats one stretch of characters: the text equals itself moved by its period.

    Word n-grams cannot see a loop without spaces, nor one that was cut in the middle of a turn.
    """
    tail = text.rstrip()[-LOOP_LOOK_BACK:]
    for period in range(1, len(tail) // LOOP_TURNS + 1):
        length = max(LOOP_CHARACTERS, LOOP_TURNS * period)
        if length > len(tail):
            break
        if tail[-length + period :] == tail[-length : len(tail) - period]:
            return True
    return False
