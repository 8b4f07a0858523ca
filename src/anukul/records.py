"""The rows that cross a step boundary, and their Parquet files.

Every step reads what another wrote through these types and never through another step's code.
"""

import math
import types
from collections.abc import Iterable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from anukul.rundir import atomic_file

Row = TypeVar("Row")


@dataclass(slots=True)
class Document:
    """One paragraph of text in corpus/documents.parquet (target language) or corpus/replay.parquet."""

    id: str
    text: str
    language: str
    source: str
    license: str
    rules: list[str]  # normalisation and masking rules that changed the text
    input: str = ""  # "file:row" as it was read, the row from 1
    weight: int = 1  # how many copies of it the input held: of its cluster of duplicates it is the one kept


@dataclass(slots=True)
class Duplicate:
    """A document of a cluster of duplicates, in corpus/clusters.parquet: the first is kept, the others are dropped.

    With `corpus.dedup.level: paragraph` also a paragraph, in corpus/paragraph_clusters.parquet: the others are cut.
    """

    cluster: str  # "<input>:<row>" of the document that is kept, which is here too, with its id
    id: str
    kind: str  # corpus | replay
    kept: bool
    exact: bool  # the same words as the one kept
    input: str  # "file:row" as it was read


@dataclass(slots=True)
class Dropped:
    """A row that a named rule dropped, in corpus/dropped.parquet or synth/dropped.parquet."""

    id: str
    source: str
    rule: str
    detail: str
    text: str  # at most the first 500 characters


@dataclass(slots=True)
class Pair:
    """Parallel text in synth/pairs.parquet: source is the base language, target the language to learn."""

    id: str
    document_id: str  # of the corpus document that is the target side, "" where there is none
    source_text: str
    target_text: str
    source_language: str
    target_language: str
    source_origin: str  # synthetic | organic
    translator: (
        str  # the model's name and the first digits of its hash; for given text as run.yaml calls it, or ""
    )
    source: str
    license: str
    translator_license: str = ""
    score: float | None = None  # log-probability per token that a model gives one side for the other, nats
    round_trip: float | None = (
        None  # chrF of the target side with its way to the base language and back, 0 to 100
    )
    rules: list[str] = field(default_factory=list)  # normalisation and masking rules that changed a side


@dataclass(slots=True)
class PairSample:
    """A pair to be read by a person, in synth/samples.parquet: some that were kept, and some that each rule dropped."""

    kind: str  # pairs | translations | instructions
    rule: str  # "" for a pair that was kept
    id: str
    detail: str
    text: str  # the two sides with a tab between them, at most the first 500 characters of both


@dataclass(slots=True)
class Instruction:
    """A question and its answer in synth/instructions.parquet, and what was said after it in a conversation."""

    id: str
    instruction: str
    input: str
    output: str
    language: str
    source: str
    license: str
    turns: list[str] = field(default_factory=list)  # after the first answer: asked and answered in turn
    system: str = ""  # what the conversation was told first
    rules: list[str] = field(default_factory=list)  # normalisation rules that changed a text of it
    origin: str = "organic"  # organic | synthetic: translated by a machine
    translator: str = ""
    translator_license: str = ""


@dataclass(slots=True)
class Item:
    """One scored item in evaluate/items.parquet: a row per model x task x shots x seed x item."""

    model: str  # base | adapted
    kind: str  # multiple_choice | bits_per_byte | knowledge | cloze | agreement
    task: str
    language: str
    role: str  # target | forgetting
    shots: int
    seed: int
    item: str
    cluster: str
    split: str  # "", or such as base / new / never for facts
    phenomenon: str  # "" except for agreement pairs
    gold: int  # -1 where there is no gold
    prediction: int  # -1 where there is none
    correct: float  # 1, 0; NaN for bits_per_byte
    correct_norm: float  # by log-likelihood per byte of the choice; NaN where not defined
    chance: float  # accuracy of guessing; NaN for bits_per_byte
    loglikelihoods: list[float]  # nats, one per choice; for bits_per_byte one for the text
    byte_counts: list[int]  # UTF-8 bytes of what each log-likelihood scores


@dataclass(slots=True)
class Flip:
    """An item that the adapted model lost or gained, in evaluate/flips.parquet: a row per item x shots x metric x seed.

    Margins are how far the right choice leads the best wrong one, in nats (for accuracy_norm in nats per byte), the
    seeds averaged; where there is one choice, its log-likelihood.
    """

    direction: str  # lost | gained
    kind: str
    task: str
    language: str
    role: str
    split: str
    phenomenon: str
    shots: int
    metric: str  # accuracy | accuracy_norm
    seed: int  # -1: the mean over all seeds
    item: str
    cluster: str
    base: float  # 1, 0, or the mean over seeds
    adapted: float
    base_margin: float
    adapted_margin: float
    gold: int
    base_choice: int  # the choice that most seeds predict, -1 for none
    adapted_choice: int
    question: str  # what stands before or after every choice, "" where the texts are not known
    choices: list[str]


@dataclass(slots=True)
class Generation:
    """One generated text in evaluate/generations.parquet: a row per model x mode x seed x prompt."""

    model: str  # base | adapted
    mode: str  # greedy | sampled
    seed: int  # -1 for greedy
    prompt_id: str
    topic: str
    length: str  # of the prompt: short | medium | long
    prompt: str
    text: str  # what the model wrote after the prompt
    tokens: int
    end: str  # ended (by the model's end token) | cut (by max_new_tokens)
    identified: str  # language code, "other script" or "no letters"
    language: float  # 1 where that is the target language, else 0
    script: float  # share of letters in the target language's script
    function_words: float  # share of words that are function words of the target language
    repetition: float  # share of word 4-grams that stood before in the text
    loop: float  # 1 where the text runs into a loop at its end, else 0
    words: int


@dataclass(slots=True)
class Translation:
    """One translated line in evaluate/translations.parquet: a row per model x direction x shots x line."""

    model: str  # base | adapted
    direction: str  # to_target | to_base
    source_language: str
    target_language: str
    shots: int
    line: int  # of the two files, from 1
    source: str
    reference: str
    hypothesis: str
    chrf: float  # sentence chrF++, 0 to 100
    prompt_cut: bool  # the prompt did not fit in the window and lost its start


@dataclass(slots=True)
class HeadScore:
    """One attention head on one relation, in probe/heads.parquet."""

    model: str  # base | adapted | random-0 … (the same architecture with random weights)
    relation: str
    direction: str  # which end of the arc is later and attends: dependent | head; both: the two pooled
    half: str  # selection | report | all: which sentences were counted
    layer: int
    head: int
    accuracy: float  # share of arcs whose arg-max over earlier words is the true word
    mass: float  # mean attention on the true word, after dropping the first token and self
    n: int  # arcs
    baseline: float  # accuracy of the best fixed offset, chosen on the selection half
    offset: int  # that offset in words, negative: earlier
    low: float  # interval of accuracy, clustered by sentence
    high: float
    uniform: float = math.nan  # accuracy of a guess among the earlier words
    permuted: float = math.nan  # accuracy of this head with the arcs permuted and their offsets kept
    p: float = (
        math.nan
    )  # that it knows no more than positions: max-statistic over heads; NaN where not tested
    significant: bool = False  # by that p, after correction over relations and directions


@dataclass(slots=True)
class PairScore:
    """One minimal pair, in probe/pairs.parquet: a row per model x pair."""

    model: str  # base | adapted
    set: str  # the name in probe.pairs
    language: str
    pair: str
    phenomenon: str
    distance: int  # words between the word that demands the form and the word that differs; -1: not known
    attractor: str | None  # a word that would demand the wrong form; "": there is none; None: not known
    cluster: str  # pairs made from one frame
    good: str
    bad: str
    good_nats: float  # log-likelihood of the whole sentence
    bad_nats: float
    good_bytes: int
    bad_bytes: int
    correct: bool  # whether the good sentence is the likelier one


@dataclass(slots=True)
class HeadChange:
    """What became of one head on one relation, base against adapted on all arcs, in probe/changes.parquet."""

    relation: str
    direction: str
    layer: int
    head: int
    n: int  # arcs
    sentences: int
    base: float  # accuracy
    adapted: float
    change: float  # adapted minus base
    low: float  # interval of the change, clustered by sentence
    high: float
    arcs_gained: int
    arcs_lost: int
    sentences_gained: int  # those whose arcs gained more than they lost
    sentences_lost: int
    p: float  # McNemar's exact test by sentence
    q: float  # over every head on every relation and direction
    verdict: str  # gained | lost | ""


@dataclass(slots=True)
class Silenced:
    """What silencing a set of heads did, in probe/knockout.parquet: a row per model x how x set x phenomenon.

    Before is the intact model on the same pairs and texts. Drops are before minus after, so that harm is positive;
    NaN where nothing of the kind was scored.
    """

    model: str  # base | adapted
    how: str  # uniform | zero | mean
    kind: str  # selected: the heads found | single: one of them | other: another head of its layer | random: a set
    number: int  # of the set within its kind, from 0
    layers: list[int]  # of the silenced heads
    heads: list[int]  # beside them, in the same order
    phenomenon: str  # "" for all pairs
    pairs: int
    accuracy_before: float  # share of pairs whose good sentence is the likelier one
    accuracy: float
    drop: float
    low: float  # interval of the drop, clustered by the pairs' lexical frames
    high: float
    margin_before: float  # mean log-likelihood of the good sentence less that of the bad one, nats
    margin: float
    margin_drop: float
    margin_low: float
    margin_high: float
    texts: int  # held-out lines
    bits_per_byte_before: float
    bits_per_byte: float
    rise: float  # of bits per byte: after minus before
    rise_low: float
    rise_high: float


def write_rows(path: Path, rows: Iterable[Row], row_type: type[Row]) -> int:
    """Write rows of one type to a Parquet file atomically; return how many there were."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = schema_of(row_type)
    names = schema.names
    held = list(rows)
    columns = {name: [getattr(row, name) for row in held] for name in names}
    table = pa.table(columns, schema=schema)
    with atomic_file(path) as file:
        pq.write_table(table, file, compression="zstd")
    return len(held)


def read_rows(path: Path, row_type: type[Row]) -> list[Row]:
    """Return the rows of a Parquet file as `row_type`."""
    import pyarrow.parquet as pq

    names = columns_in(path, row_type)
    table = pq.read_table(path, columns=names)
    data = table.to_pydict()
    return [
        row_type(**dict(zip(names, values, strict=True)))
        for values in zip(*(data[n] for n in names), strict=True)
    ]


def columns_in(path: Path, row_type: type[Any]) -> list[str]:
    """Return the columns of a Parquet file that make its rows; what has a default may be missing in an older file."""
    import pyarrow.parquet as pq

    held = set(pq.read_schema(path).names)
    return [
        part.name
        for part in fields(row_type)
        if part.name in held or (part.default is MISSING and part.default_factory is MISSING)
    ]


def schema_of(row_type: type[Any]) -> Any:
    """Return the pyarrow schema of a row dataclass."""
    import pyarrow as pa

    hints = get_type_hints(row_type)
    return pa.schema([(field.name, _arrow_type(hints[field.name])) for field in fields(row_type)])


def _arrow_type(hint: Any) -> Any:
    import pyarrow as pa

    plain = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint in plain:
        return plain[hint]
    origin = get_origin(hint)
    if origin is list:
        return pa.list_(_arrow_type(get_args(hint)[0]))
    if origin in (Union, types.UnionType):
        return _arrow_type(next(arg for arg in get_args(hint) if arg is not type(None)))
    raise TypeError(f"no Parquet type for {hint}")
