"""Say which language a paragraph is in, among languages that share a script.

Two witnesses are added up. py3langid knows letter sequences, but errs on single sentences and has no
Maithili or Bhojpuri. Function words and attached endings are few, frequent, and differ between neighbors even
where all the nouns are shared. A text without evidence counts as the expected language.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from anukul.languages import Language, load
from anukul.text.words import script_share, words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

MIN_STEM = 2  # characters before an ending, so that a word is not its own ending
LONGEST = 4000  # characters looked at; more change no verdict


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a text looks like: a FLORES-200 code, or `py3langid:xx` for a language without YAML."""

    language: str
    margin: float  # evidence by which it leads the expected language; 0 when it is the expected language
    detail: str


@cache
def _identifier(labels: tuple[str, ...]) -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(labels))
    return identifier


@lru_cache(maxsize=200_000)
def _word_evidence(word: str, code: str) -> float:
    """Return what one word says for a language: a function word, an ending, or nothing."""
    language = load(code)
    if word in language.function_words or word.lower() in language.function_words:
        return language.thresholds.function_word_weight
    for start in range(MIN_STEM, len(word)):
        if word[start:] in language.suffixes:
            return language.thresholds.suffix_weight
    return 0.0


def _log_ratios(text: str, language: Language) -> dict[str, float]:
    """Return {label: nats by which py3langid prefers it to `language`}, capped both ways; {} if it cannot say."""
    own = language.iso639_1
    if own is None or not language.identifier_rivals:
        return {}
    import math

    cap = language.thresholds.identifier_cap
    ranked = dict(_identifier((own, *language.identifier_rivals)).rank(text))
    floor = 1e-9
    return {
        label: max(-cap, min(cap, math.log(max(share, floor)) - math.log(max(ranked[own], floor))))
        for label, share in ranked.items()
        if label != own
    }


def identify(text: str, language: Language) -> Verdict:
    """Return the verdict on a text that is expected to be in `language`.

    A rival is named only when it leads by more than the language's `margin`.
    """
    text = text[:LONGEST]
    if not any(character.isalpha() for character in text):
        return Verdict(language.code, 0.0, "no letters")
    found = words(text)
    own = sum(_word_evidence(word, language.code) for word in found)
    ratios = _log_ratios(text, language)
    leads: dict[str, float] = {}
    for code in language.confusables:
        rival = load(code)
        lead = sum(_word_evidence(word, code) for word in found) - own
        leads[code] = lead + language.thresholds.identifier_weight * ratios.pop(rival.iso639_1 or "", 0.0)
    for label, ratio in ratios.items():
        leads[f"py3langid:{label}"] = language.thresholds.identifier_weight * ratio - own
    if not leads:
        return Verdict(language.code, 0.0, "no rivals")
    best = max(leads, key=lambda code: leads[code])
    if leads[best] <= language.thresholds.margin:
        return Verdict(language.code, 0.0, f"leads {best} by {-leads[best]:.1f}")
    detail = f"looks like {best}, not {language.code}: evidence {leads[best]:.1f} ahead"
    return Verdict(best, leads[best], detail)


def in_script(text: str, language: Language) -> float:
    """Return the share of letters in the language's script, 0 to 1."""
    return script_share(text, language.script)
