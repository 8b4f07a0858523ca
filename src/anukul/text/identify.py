"""Say which language a paragraph is in, among languages that share a script.

Two witnesses are added up. py3langid knows letter sequences, but errs on single sentences and has no
Maithili or Bhojpuri. Function words and attached endings are few, frequent, and differ between neighbors even
where all the nouns are shared. A text without evidence counts as the expected language. Where the words alone
decide, py3langid is not asked: its say is capped, and could not change the verdict.

A GlotLID model file, where the user has one, takes the place of both for paragraphs of some length.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from anukul.languages import Language
from anukul.text import glotlid
from anukul.text.glotlid import score
from anukul.text.measure import Measure, measure, meter
from anukul.text.words import script_share

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LONGEST = 4000  # characters looked at; more change no verdict
GLOTLID_WORDS = (
    10  # fewer are left to the word lists: names and headlines mislead a model of letter sequences
)


# In fewer words, of which none speaks for a language, letters must be surer: a dateline is names and a month. Measured
# on the first three words of sentences, those with a telling word left out: a lead of 1.0 refuses 174 of 1,188 Nepali
# and finds 106 of 228 Hindi ones; a lead of 1.5 refuses 55 and finds 69.
SURE_FROM = 6
SURE = 1.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a text looks like: a FLORES-200 code, or `py3langid:xx` for a language without YAML."""

    language: str
    margin: float  # evidence by which it leads the expected language; 0 when it is the expected language
    detail: str
    score: float | None = None  # probability that GlotLID gives the expected language, where it was asked


@cache
def _identifier(labels: tuple[str, ...]) -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(labels))
    return identifier


def forget() -> None:
    """Let go of py3langid's models, of about 100 MB each, and of GlotLID's."""
    _identifier.cache_clear()
    glotlid.forget()


def _log_ratios(text: str, language: Language) -> dict[str, float]:
    """Return {label: nats by which py3langid prefers it to `language`}, capped both ways; {} if it cannot say."""
    own = language.iso639_1
    if own is None or not language.identifier_rivals:
        return {}
    cap = language.thresholds.identifier_cap
    ranked = dict(_identifier((own, *language.identifier_rivals)).rank(text))
    floor = 1e-9
    return {
        label: max(-cap, min(cap, math.log(max(share, floor)) - math.log(max(ranked[own], floor))))
        for label, share in ranked.items()
        if label != own
    }


def identify(
    text: str, language: Language, model: str | None = None, known: Measure | None = None
) -> Verdict:
    """Return the verdict on a text that is expected to be in `language`.

    A rival is named only when it leads by more than the language's `margin`. `model` is a GlotLID file; `known` is
    the text's measure where the caller has it.
    """
    if len(text) > LONGEST:
        text, known = text[:LONGEST], None
    known = known or measure(text, language)
    if not known.letters:
        return Verdict(language.code, 0.0, "no letters")
    if model is not None and known.words >= GLOTLID_WORDS:
        return _by_model(text, language, model)
    own, *others = known.evidence
    leads = {code: rival - own for code, rival in zip(language.confusables, others, strict=True)}
    threshold, weight = language.thresholds.margin, language.thresholds.identifier_weight
    most = weight * language.thresholds.identifier_cap
    if max([*leads.values(), -own]) + most <= threshold:
        return Verdict(language.code, 0.0, "its words decide")
    if language.confusables and known.words < SURE_FROM and not any(known.evidence):
        threshold = max(threshold, SURE)
    ratios = _log_ratios(text, language)
    for rival in meter(language.code).languages[1:]:
        leads[rival.code] += weight * ratios.pop(rival.iso639_1 or "", 0.0)
    for label, ratio in ratios.items():
        leads[f"py3langid:{label}"] = weight * ratio - own
    if not leads:
        return Verdict(language.code, 0.0, "no rivals")
    best = max(leads, key=lambda code: leads[code])
    if leads[best] <= threshold:
        return Verdict(language.code, 0.0, f"leads {best} by {-leads[best]:.1f}")
    detail = f"looks like {best}, not {language.code}: evidence {leads[best]:.1f} ahead"
    return Verdict(best, leads[best], detail)


def _by_model(text: str, language: Language, model: str) -> Verdict:
    label, best, own = score(text, language.code, model)
    if label == language.code:
        return Verdict(language.code, 0.0, f"GlotLID gives {label} {own:.2f}", own)
    return Verdict(
        label, best - own, f"looks like {label} ({best:.2f}), not {language.code} ({own:.2f})", own
    )


def in_script(text: str, language: Language) -> float:
    """Return the share of letters and vowel signs in the language's script, 0 to 1."""
    return script_share(text, language.script)
