"""The rules that drop a document or a paragraph of it: each has a name, a reason in words, and a place in the order."""

from collections import Counter
from dataclasses import dataclass, field

from anukul.config import CorpusSettings, QualitySettings
from anukul.corpus.quality import RULES as QUALITY_RULES
from anukul.corpus.quality import boilerplate, find_fault, limits
from anukul.languages import Language
from anukul.text.identify import identify
from anukul.text.measure import Measure, meter, word_count

PARAGRAPH_WORDS = (
    10  # a shorter line is judged with the next: a heading holds too little evidence, and is never cut alone
)
OWN_SHARE = 0.5  # of a document's words must be in its language, or it is a document in another
OTHER_SCRIPT = "another script"  # what a paragraph looks like whose letters are not the language's
CUT_RULES = ("foreign_paragraph", "boilerplate")
RULES = (
    "empty",
    "too_short",
    "too_long",
    "wrong_script",
    "wrong_language",
    "language_score",
    *CUT_RULES,
    *QUALITY_RULES,
)


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a document is dropped; `looks_like` is a language code for wrong_language, else ""."""

    rule: str
    detail: str
    looks_like: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """A paragraph that is taken out of a document that stays."""

    text: str
    drop: Drop


@dataclass(slots=True)
class Assessment:
    """What becomes of a document: its text without the cuts, or why it is dropped."""

    text: str
    drop: Drop | None = None
    cuts: list[Cut] = field(default_factory=list)
    languages: dict[str, int] = field(default_factory=dict)  # {what paragraphs look like: how many}

    @property
    def rules(self) -> list[str]:
        """The rules that cut something out of the text, for the document's provenance."""
        cut = {item.drop.rule for item in self.cuts}
        return [rule for rule in CUT_RULES if rule in cut]


def judge(text: str, language: Language, settings: CorpusSettings) -> Drop | None:
    """Return the first rule that drops a normalised text, None to keep it; duplicates are not judged here."""
    return assess(text, language, settings).drop


Lines = list[tuple[str, int]]  # each with its packed counts: see text/measure.py


def assess(text: str, language: Language, settings: CorpusSettings) -> Assessment:
    """Judge a normalised document, paragraph by paragraph where the settings say so."""
    result = Assessment(text, _by_length(text, settings))
    if result.drop is not None:
        return result
    measured = meter(language.code)
    quality = settings.quality
    lines = [(line, measured.pack(line)) for line in text.split("\n")]
    if quality is not None and quality.boilerplate:
        lines = _without_boilerplate(result, lines, language)
        if result.drop is not None:
            return result
    known = measured.unpack(sum(packed for _, packed in lines))
    if known.script_share < settings.min_script_share:
        share = f"{known.script_share:.2f} of the letters and signs are {language.script}"
        result.drop = Drop("wrong_script", f"{share}, fewer than {settings.min_script_share}")
        return result
    if settings.language_check:
        known = _in_language(result, lines, known, language, settings)
    if result.drop is None and result.cuts and len(result.text) < settings.min_characters:
        result.drop = result.cuts[0].drop
    if result.drop is None and quality is not None:
        fault = find_fault(result.text, known, language, quality)
        result.drop = Drop(fault.rule, fault.detail) if fault else None
    return result


def _by_length(text: str, settings: CorpusSettings) -> Drop | None:
    if not text:
        return Drop("empty", "nothing left after normalisation")
    if len(text) < settings.min_characters:
        return Drop("too_short", f"{len(text)} characters, fewer than {settings.min_characters}")
    if len(text) > settings.max_characters:
        return Drop("too_long", f"{len(text)} characters, more than {settings.max_characters}")
    return None


def _without_boilerplate(result: Assessment, lines: Lines, language: Language) -> Lines:
    """Return the lines that are no part of a page's frame; drop the document when there are none."""
    kept: Lines = []
    for line, packed in lines:
        phrase = boilerplate(line, packed, language)
        if phrase is None:
            kept.append((line, packed))
        else:
            result.cuts.append(Cut(line, Drop("boilerplate", f"a short line with the phrase: {phrase}")))
    if not kept:
        result.drop = result.cuts[0].drop
        result.cuts = []
    elif result.cuts:
        result.text = "\n".join(line for line, _ in kept)
    return kept


def _in_language(
    result: Assessment, lines: Lines, known: Measure, language: Language, settings: CorpusSettings
) -> Measure:
    """Identify each paragraph, cut those in another language, and return the measure of what is left."""
    quality, measured = settings.quality, meter(language.code)
    blocks = _blocks(lines) if quality is not None and quality.paragraphs else [lines]
    if len(blocks) == 1:
        verdict = identify(result.text, language, settings.glotlid, known)
        result.languages = {verdict.language: 1}
        if verdict.language != language.code:
            result.drop = Drop("wrong_language", verdict.detail, verdict.language)
        elif quality is not None:
            result.drop = _by_score([(verdict.score, known.words)], language, quality)
        return known
    kept: Lines = []
    scores: list[tuple[float | None, int]] = []
    foreign: Counter[str] = Counter()
    for block in blocks:
        part = measured.unpack(sum(packed for _, packed in block))
        text = "\n".join(line for line, _ in block)
        drop, score, label = _judge_block(text, part, language, settings)
        result.languages[label] = result.languages.get(label, 0) + 1
        if drop is None:
            kept += block
            scores.append((score, part.words))
        else:
            result.cuts.append(Cut(text, drop))
            foreign[label] += part.words
    if not foreign:
        result.drop = _by_score(scores, language, quality) if quality is not None else None
        return known
    left = measured.unpack(sum(packed for _, packed in kept))
    result.text = "\n".join(line for line, _ in kept)
    if left.words < OWN_SHARE * known.words:
        other = max(foreign, key=lambda label: foreign[label])
        share = f"{left.words / known.words:.2f} of the words are in paragraphs of {language.code}"
        detail = f"{share}, fewer than {OWN_SHARE}; most others look like {other}"
        result.drop, result.cuts = Drop("wrong_language", detail, other), []
    elif quality is not None:
        result.drop = _by_score(scores, language, quality)
    return left


def _judge_block(
    text: str, known: Measure, language: Language, settings: CorpusSettings
) -> tuple[Drop | None, float | None, str]:
    """Return (why a paragraph is cut, GlotLID's score, what it looks like)."""
    if known.letters and known.script_share < settings.min_script_share:
        share = f"{known.script_share:.2f} of the paragraph's letters and signs are {language.script}"
        return (
            Drop("foreign_paragraph", f"{share}, fewer than {settings.min_script_share}"),
            None,
            OTHER_SCRIPT,
        )
    verdict = identify(text, language, settings.glotlid, known)
    if verdict.language == language.code:
        return None, verdict.score, verdict.language
    return Drop("foreign_paragraph", verdict.detail, verdict.language), None, verdict.language


def _blocks(lines: Lines) -> list[Lines]:
    """Return the lines in paragraphs of at least PARAGRAPH_WORDS; what is left over goes with the last."""
    blocks: list[Lines] = []
    current: Lines = []
    number = 0
    for line in lines:
        current.append(line)
        number += word_count(line[1])
        if number >= PARAGRAPH_WORDS:
            blocks.append(current)
            current, number = [], 0
    if current and blocks:
        blocks[-1] += current
    return blocks or [current]


def _by_score(
    scores: list[tuple[float | None, int]], language: Language, quality: QualitySettings
) -> Drop | None:
    """Refuse a document of which GlotLID is not sure enough, by the mean over its words."""
    known = [(score, number) for score, number in scores if score is not None]
    if not known or "language_score" in quality.skip:
        return None
    mean = sum(score * number for score, number in known) / sum(number for _, number in known)
    least = limits(language.code, quality).min_language_score
    if mean >= least:
        return None
    return Drop("language_score", f"GlotLID gives {language.code} {mean:.2f}, less than {least}")
