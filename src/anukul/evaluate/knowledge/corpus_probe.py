"""Cloze questions made from the training corpus: a number or a name of held-out text is hidden and asked for.

A mention is asked where the corpus states the same value among the same content words, so that a model which learned
the corpus can know it. The wrong answers are values of the corpus of the same kind, script and form.
"""

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anukul import languages
from anukul.config import CorpusProbeSettings, RunConfig
from anukul.errors import UserError
from anukul.evaluate.knowledge.clozes import Cloze
from anukul.evaluate.knowledge.corpus_index import (
    Index,
    Mention,
    aligned_names,
    build_index,
    content_words,
    mentions,
)
from anukul.items.lines import lines_after
from anukul.languages import Language
from anukul.rundir import write_atomic
from anukul.text.keys import fold_digits, match_key
from anukul.text.sentences import split_sentences
from anukul.text.words import WORD

TASK = "corpus-probe"
MIN_PREFIX = 3  # words before what is asked
MAX_WORDS = 60
PER_VALUE = 3  # questions about one value
NEAREST = 20  # distractors are drawn from this many, nearest in frequency
SAMPLE = 20
PAIRS = 200_000
REASONS = {
    "no_mention": "the sentence holds no number of two digits and no name",
    "sentence_in_corpus": "the held-out sentence itself stands in the corpus",
    "too_long": f"the sentence has more than {MAX_WORDS} words",
    "short_prefix": f"fewer than {MIN_PREFIX} words stand before what would be hidden",
    "answer_in_prefix": "the value already stands before what would be hidden",
    "not_in_corpus": "the corpus does not hold the value",
    "no_overlap": "no corpus sentence with the value shares enough content words",
    "no_overlap_before": "none of the shared words stands before what would be hidden, where the model could see it",
    "too_few_distractors": "too few other values of the same kind, script and form",
    "frequency": "too few others that are more, or less, frequent, as drawn: frequency must not give the answer away",
    "value_repeated": f"{PER_VALUE} questions about the value are kept already",
    "over_limit": "beyond the limit",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A cloze with the corpus sentence that states its answer."""

    cloze: Cloze
    sentence: str
    support: str
    shared: tuple[str, ...]
    frequencies: tuple[int, ...]  # corpus sentences of each choice


@dataclass(slots=True)
class Probe:
    """The questions kept, and how many mentions each filter dropped."""

    questions: list[Question] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    sentences: int = 0  # of the corpus
    names: int = 0  # known from the parallel text

    @property
    def clozes(self) -> list[Cloze]:
        """What is scored."""
        return [question.cloze for question in self.questions]

    def as_json(self) -> dict[str, Any]:
        """Return the counts for scores.json; `by_frequency` is the accuracy of naming the corpus's most frequent."""
        right = [
            question.cloze.gold == question.frequencies.index(max(question.frequencies))
            for question in self.questions
        ]
        return {
            "questions": len(self.questions),
            "by_kind": dict(sorted(Counter(cloze.split for cloze in self.clozes).items())),
            "corpus_sentences": self.sentences,
            "names_known": self.names,
            "by_frequency": sum(right) / len(right) if right else None,
            "dropped": {name: self.dropped[name] for name in REASONS if self.dropped[name]},
        }


def make_probe(config: RunConfig, settings: CorpusProbeSettings, root: Path) -> Probe:
    """Build the questions from the corpus of the run and the held-out text; raise UserError where none is left."""
    path = root / "corpus" / "documents.parquet"
    if not path.is_file():
        raise UserError(
            "evaluate.corpus_probe: the run has no corpus/documents.parquet; add a corpus section"
        )
    language = languages.load(config.language)
    names: frozenset[str] = frozenset()
    pairs = root / "synth" / "pairs.parquet"
    if config.synth is not None and pairs.is_file():
        names = aligned_names(_pairs(pairs), language, languages.load(config.base_language))
    index = build_index(_column(path, ("text",)), names, language)
    held = lines_after(settings.text, settings.skip)
    probe = build_probe(held, index, names, language, settings, config.seed)
    if not probe.questions:
        told = ", ".join(f"{name} {count}" for name, count in probe.dropped.most_common())
        raise UserError(f"evaluate.corpus_probe: {settings.text}: no question can be made of it ({told})")
    return probe


def build_probe(
    held: Iterable[tuple[int, str]],
    index: Index,
    names: frozenset[str],
    language: Language,
    settings: CorpusProbeSettings,
    seed: int,
) -> Probe:
    """Make questions of held-out (line number, text); which are kept under the limit is drawn by seed."""
    probe = Probe(sentences=len(index.texts), names=len(names))
    candidates: list[Question] = []
    for number, text in held:
        for place, sentence in enumerate(split_sentences(text, language)):
            found = list(mentions(sentence, names, language))
            reason = _sentence_fault(sentence, found, index)
            if reason:
                probe.dropped[reason] += 1
                continue
            for mention in found:
                identifier = f"{number}.{place}:{mention.start}"
                made = _question(mention, sentence, identifier, str(number), index, language, settings, seed)
                if isinstance(made, str):
                    probe.dropped[made] += 1
                else:
                    candidates.append(made)
    random.Random(f"{seed}:corpus-probe").shuffle(candidates)
    values: Counter[str] = Counter()
    for question in candidates:
        answer = question.cloze.choices[question.cloze.gold]
        if values[answer] == PER_VALUE:
            probe.dropped["value_repeated"] += 1
        elif len(probe.questions) == settings.limit:
            probe.dropped["over_limit"] += 1
        else:
            values[answer] += 1
            probe.questions.append(question)
    return probe


def _sentence_fault(sentence: str, found: list[Mention], index: Index) -> str:
    """Return why a whole sentence is left out, or nothing."""
    if not found:
        return "no_mention"
    if match_key(sentence) in index.keys:
        return "sentence_in_corpus"
    return "too_long" if len(WORD.findall(sentence)) > MAX_WORDS else ""


def _question(
    mention: Mention,
    sentence: str,
    identifier: str,
    cluster: str,
    index: Index,
    language: Language,
    settings: CorpusProbeSettings,
    seed: int,
) -> Question | str:
    """Return the question that a mention makes, or the name of the filter that drops it."""
    prefix = sentence[: mention.start]
    if len(WORD.findall(prefix)) < MIN_PREFIX:
        return "short_prefix"
    if mention.text in prefix or match_key(mention.text) in match_key(prefix).split():
        return "answer_in_prefix"
    places = index.places.get(mention.key)
    if not places:
        return "not_in_corpus"
    own = mention.text.casefold()
    content = {word for word in content_words(sentence, language) if index.is_rare(word) and own not in word}
    before = content & content_words(prefix, language)
    shared = [(len(content & index.content[place]), -place) for place in places]
    if max(shared)[0] < settings.min_overlap:
        return "no_overlap"
    most, best = max((count if before & index.content[-place] else 0, place) for count, place in shared)
    if most < settings.min_overlap:
        return "no_overlap_before"
    picks = _distractors(mention, identifier, content, index, settings, seed)
    if isinstance(picks, str):
        return picks
    rng = random.Random(f"{seed}:order:{identifier}")
    choices = [mention.text, *picks]
    rng.shuffle(choices)
    cloze = Cloze(
        TASK,
        language.code,
        "target",
        identifier,
        cluster,
        mention.kind,
        prefix,
        tuple(choices),
        choices.index(mention.text),
    )
    counts = index.forms[mention.form]
    return Question(
        cloze,
        sentence,
        index.texts[-best],
        tuple(sorted(content & index.content[-best])),
        tuple(counts[choice] for choice in choices),
    )


def _distractors(
    mention: Mention,
    identifier: str,
    content: set[str],
    index: Index,
    settings: CorpusProbeSettings,
    seed: int,
) -> list[str] | str:
    """Draw wrong values of the same form, near in frequency, or name the filter that finds too few.

    None of them is stated by the corpus among the same words. How many are more frequent than the answer is drawn
    first, so that naming the most frequent choice is right as often as guessing.
    """
    counts = index.forms.get(mention.form, Counter())
    here, size = counts[mention.text], len(mention.text)
    sides: tuple[list[str], list[str]] = ([], [])  # at least, and at most as frequent as the answer
    others = sorted(
        (value for value in counts if _key(mention, value) != mention.key),
        key=lambda value: (_distance(counts[value], here) + 0.1 * abs(len(value) - size), value),
    )
    for value in others:
        if min(map(len, sides)) >= NEAREST:
            break
        stated = index.places.get(_key(mention, value), [])
        if all(len(content & index.content[place]) < settings.min_overlap for place in stated):
            for side, fits in zip(sides, (counts[value] >= here, counts[value] <= here), strict=True):
                if fits and len(side) < NEAREST:
                    side.append(value)
    wanted = settings.choices - 1
    if len({*sides[0], *sides[1]}) < wanted:
        return "too_few_distractors"
    rng = random.Random(f"{seed}:distractors:{identifier}")
    above = rng.randrange(settings.choices)
    picks = rng.sample(sides[0], min(above, len(sides[0])))
    below = [value for value in sides[1] if value not in picks]
    picks += rng.sample(below, min(wanted - above, len(below)))
    return picks if len(picks) == wanted else "frequency"


def _distance(count: int, other: int) -> float:
    return abs(math.log((count + 1) / (other + 1)))


def _key(mention: Mention, value: str) -> str:
    """Return the key of another value of the same kind."""
    return f"name:{value}" if mention.kind == "name" else fold_digits(value)


def write_probe(probe: Probe, folder: Path) -> list[str]:
    """Write the questions as a task file, and a sample to read; return the names of the files."""
    rows = []
    for question in probe.questions:
        cloze = question.cloze
        rows.append(
            {
                "id": cloze.id,
                "cluster": cloze.cluster,
                "kind": cloze.split,
                "query": cloze.prefix.rstrip(),
                "choices": list(cloze.choices),
                "gold": cloze.gold,
                "sentence": question.sentence,
                "support": question.support,
            }
        )
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_atomic(folder / "corpus_probe.jsonl", "".join(lines))
    write_atomic(folder / "corpus_probe.sample.txt", sample_text(probe))
    return ["corpus_probe.jsonl", "corpus_probe.sample.txt"]


def sample_text(probe: Probe) -> str:
    """Return some questions and the filters' counts as a person reads them."""
    counts = probe.as_json()
    kinds = ", ".join(f"{count} of a {kind}" for kind, count in counts["by_kind"].items())
    blocks = [
        f"{len(probe.questions)} questions ({kinds}) from {probe.sentences:,} corpus sentences; "
        f"{probe.names:,} names known from the parallel text.\nDropped:",
        *(f"  {count:6,}  {name}: {REASONS[name]}" for name, count in counts["dropped"].items()),
    ]
    for number, question in enumerate(probe.questions[:SAMPLE], start=1):
        cloze = question.cloze
        shown = "   ".join(
            f"{'*' if place == cloze.gold else ' '}{choice} ({question.frequencies[place]})"
            for place, choice in enumerate(cloze.choices)
        )
        blocks.append(
            f"\n{number}. {cloze.split}, line {cloze.cluster}\n   {cloze.prefix}____\n   {shown}\n"
            f"   whole:  {question.sentence}\n   corpus: {question.support}\n"
            f"   shared: {' '.join(question.shared)}"
        )
    blocks.append("\n* the right one; in brackets the number of corpus sentences that hold each choice")
    return "\n".join(blocks) + "\n"


def _column(path: Path, columns: tuple[str, ...]) -> Iterator[Any]:
    """Yield one value per row of a Parquet file, or a tuple where several columns are asked for."""
    import pyarrow.parquet as pq

    for batch in pq.ParquetFile(path).iter_batches(columns=list(columns)):
        held = [batch.column(name).to_pylist() for name in columns]
        yield from held[0] if len(columns) == 1 else zip(*held, strict=True)


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for number, pair in enumerate(_column(path, ("source_text", "target_text"))):
        if number == PAIRS:
            return
        yield pair
