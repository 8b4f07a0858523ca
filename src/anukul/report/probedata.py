"""What the report knows of probe/, as frozen values; `loadprobe` and `loadchecks` read them."""

from dataclasses import dataclass, field
from typing import Any

from anukul.records import HeadChange, HeadScore
from anukul.report.data import Measure

Matrix = tuple[tuple[float, ...], ...]
MODELS = ("base", "adapted")


def head_name(layer: int, head: int) -> str:
    """Return layer and head, both counted from 0, as in `L3·H5`."""
    return f"L{layer}·H{head}"


@dataclass(frozen=True, slots=True)
class Tested:
    """A measure with the p of its test and the false discovery rate q."""

    measure: Measure
    p: float | None
    q: float | None


@dataclass(frozen=True, slots=True)
class Crossed:
    """Every arc judged by the head that was chosen on the other half of the sentences."""

    where: str
    n: int
    sentences: int
    heads: tuple[str, ...]
    accuracy: Measure
    baseline: float | None
    lead: Tested  # over the best fixed offset
    over_random: Tested | None  # over models with random weights; None where there are none


@dataclass(frozen=True, slots=True)
class Permutation:
    """The best head against arcs permuted with their distances kept; `heads` is how many heads outlive it."""

    p: float | None
    q: float | None
    heads: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One model's best head for a relation: chosen on one half of the sentences, measured on the other."""

    where: str
    layer: int
    head: int
    accuracy: Measure
    mass: float | None
    over_offset: Measure  # accuracy minus the best fixed offset's, on the same arcs
    q: float | None  # false discovery rate of `over_offset` over all relations
    change: Measure  # of this same head: adapted minus base
    sink: float | None = None  # mean attention on the first token
    crossed: Crossed | None = None
    permutation: Permutation | None = None
    knowing: tuple[str, ...] = ()  # heads that know the relation, the most accurate first

    @property
    def name(self) -> str:
        """Layer and head."""
        return head_name(self.layer, self.head)


@dataclass(frozen=True, slots=True)
class Finding:
    """One relation in one direction: the best head of base and adapted against the baselines."""

    where: str
    relation: str
    direction: str
    n: int
    sentences: int | None
    base: Choice
    adapted: Choice
    baseline: float | None
    offset: int | None
    uniform: float | None
    random: Measure = field(
        default_factory=Measure
    )  # the best head of models with random weights, cross-fitted
    random_models: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """Relation and direction."""
        return self.relation, self.direction

    @property
    def title(self) -> str:
        """The relation, and which end of the arc stands later and attends."""
        end = "both directions" if self.direction == "both" else f"{self.direction} attends"
        return f"{self.relation}, {end}"


@dataclass(frozen=True, slots=True)
class Knower:
    """A head that knows at least one relation."""

    where: str
    name: str
    named: bool  # it is the best head of one of them
    relations: tuple[str, ...]
    lead: float | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Heads that were gained or lost on a relation: how many, over how many tests, and the largest."""

    tests: int
    alpha: float | None
    gained: int
    lost: int
    largest: tuple[HeadChange, ...]  # gained, then lost, the largest change of each first


@dataclass(frozen=True, slots=True)
class Tree:
    """The share of all arcs that the best head of each relation finds, and the differences of these shares."""

    arcs: int
    sentences: int
    values: dict[str, Measure]  # offset, random, base, adapted
    differences: dict[str, Tested]  # adapted_minus_base, base_minus_offset, adapted_minus_offset


@dataclass(frozen=True, slots=True)
class CaseModel:
    """What one model does in the case study."""

    attention: Matrix  # [layers][heads], from query to key
    share: Matrix  # the same, first token and self left out
    words: Matrix  # [words][words] of the head that is shown; rows attend
    sink: tuple[float, ...]  # [words], attention on the first token
    pieces: int = 0  # tokens of the query word; 0 where this is not known
    mean: Matrix = ()  # `attention` averaged over the query word's tokens


@dataclass(frozen=True, slots=True)
class MeanPieces:
    """The case study with the mean over the query word's pieces in place of the last one."""

    layer: int  # the head that changes most then
    head: int
    change: float | None
    shown: float | None  # change of the head that is shown
    holds: bool

    @property
    def name(self) -> str:
        """Layer and head."""
        return head_name(self.layer, self.head)


@dataclass(frozen=True, slots=True)
class Case:
    """One sentence: what every head of both models puts on the key word from the query word."""

    sentence: str
    words: tuple[str, ...]
    query: int
    key: int
    swapped: bool
    layer: int
    head: int
    change: float | None
    base: CaseModel
    adapted: CaseModel
    why: str = "changed"  # why this head is shown: it changed most, or was asked for
    mean: MeanPieces | None = None
    where: str = "probe/case.json"
    also: tuple[str, ...] = ()  # what was not said clearly, such as a word that stands twice

    @property
    def pair(self) -> str:
        """The two words, as `query → key`."""
        return f"{self.words[self.query]} → {self.words[self.key]}"


@dataclass(frozen=True, slots=True)
class PairRow:
    """One row of probe/pairs.json: base and adapted on minimal pairs."""

    where: str
    set: str
    phenomenon: str  # "" for the whole set
    distance: int | None  # of the row's pairs; None: all
    attractor: bool | None  # whether its pairs have one; None: all
    n: int
    clusters: int
    base: Measure
    adapted: Measure
    difference: Measure
    q: float | None
    lost: int | None
    gained: int | None

    @property
    def whole(self) -> bool:
        """Whether the row holds every pair of its phenomenon or set."""
        return self.distance is None and self.attractor is None


@dataclass(frozen=True, slots=True)
class Pairs:
    """probe/pairs.json as a whole."""

    rows: tuple[PairRow, ...]
    chance: float
    comparisons: int
    family: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What silencing did to one number, and how other sets of heads compare."""

    where: str
    before: float | None
    after: float | None
    harm: Measure  # before minus after of accuracy and margin, after minus before of bits per byte
    others: int
    others_mean: float | None
    others_largest: float | None
    others_at_least: int
    rank_p: float | None
    rank_q: float | None = None
    p: float | None = None  # McNemar, of accuracy alone
    q: float | None = None


@dataclass(frozen=True, slots=True)
class Single:
    """One of the silenced heads by itself, by measure."""

    name: str
    effects: dict[str, Effect]


@dataclass(frozen=True, slots=True)
class Effects:
    """One model silenced in one way: the whole set by measure, its accuracy by phenomenon, each head by itself."""

    model: str
    how: str
    whole: dict[str, Effect]  # accuracy, margin, bits_per_byte
    phenomena: tuple[tuple[str, Effect], ...]
    singles: tuple[Single, ...]
    random: dict[str, tuple[float, ...]]  # harm of every random set, by measure


@dataclass(frozen=True, slots=True)
class Knockout:
    """probe/knockout.json with what knockout.parquet says of the random sets; no `effects`: no head to silence."""

    heads: tuple[Knower, ...]
    left_out: int
    pairs: int = 0
    clusters: int = 0
    texts: int = 0
    effects: tuple[Effects, ...] = ()
    sets: int = 0  # random sets that were made
    overlap: bool = False  # they may hold some of the selected heads
    exact: bool = False  # they are all that exist
    smallest_p: float | None = None
    differences: dict[str, Tested] = field(default_factory=dict)  # adapted minus base, by way
    untouched: dict[str, bool] = field(
        default_factory=dict
    )  # by model: scores before and after are bit-equal


@dataclass(frozen=True, slots=True)
class Pieces:
    """probe/pieces.json: the same findings with the mean over the query words' pieces."""

    words: int
    split: int  # query words of more than one piece
    tree: dict[str, tuple[Measure, Measure]]  # by model: last piece, mean of pieces
    knowers: dict[str, tuple[tuple[str, ...], tuple[str, ...]]]  # by model, in the same order
    holds: bool


@dataclass(frozen=True, slots=True)
class Probe:
    """probe/ as a whole; `scores` holds the rows of base and adapted on the report half only."""

    layers: int
    heads: int
    scores: dict[tuple[str, str], tuple[HeadScore, ...]]  # by relation and direction
    findings: tuple[Finding, ...]
    case: Case | None
    rare: tuple[str, ...] = ()
    treebank: str = ""
    language: str = ""
    sentences: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, float] = field(default_factory=dict)  # by model, the mean over heads
    changes: dict[tuple[str, str], tuple[HeadChange, ...]] = field(default_factory=dict)
    undirected: tuple[Finding, ...] = ()
    knowers: dict[str, tuple[Knower, ...]] = field(default_factory=dict)  # by model
    changed: Changed | None = None
    tree: Tree | None = None
    alpha: float = 0.05
    permutations: int = 0
    random_models: int = 0
    pairs: Pairs | None = None
    knockout: Knockout | None = None
    pieces: Pieces | None = None
