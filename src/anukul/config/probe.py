"""`probe`: treebank, minimal pairs and knock-out."""

from typing import Literal, Self

from pydantic import Field, model_validator

from anukul.config.evaluate import EvaluateSettings
from anukul.config.held_out import HeldOutText
from anukul.config.section import Section


class CaseStudy(Section):
    """One sentence whose attention is shown; the words are named as written in the sentence."""

    sentence: str
    query: str
    key: str


class PairSettings(Section):
    """A set of minimal pairs: a .jsonl of good and bad, BLiMP's .jsonl, MultiBLiMP's .tsv; a file, folder or glob."""

    name: str = Field(min_length=1)
    path: str
    language: str | None = Field(None, description="default: the language of the run")


class KnockoutSettings(Section):
    """Heads that know a relation, silenced: what agreement and held-out text lose, against random sets of heads.

    The cost is bounded by what is said here: 2 models x (2 + ways x sets) times the pairs and texts are scored.
    """

    pairs: int = Field(280, ge=1, description="minimal pairs of probe.pairs scored, spread over phenomena")
    texts: int = Field(40, ge=1, description="held-out lines scored")
    held_out: HeldOutText | None = Field(
        None, description="the held-out lines; default: those of evaluate.bits_per_byte in probe.language"
    )
    how: tuple[Literal["uniform", "zero", "mean"], ...] = Field(
        ("uniform", "zero", "mean"),
        min_length=1,
        description="what a silenced head does: look at all alike, say nothing, say what it says on average",
    )
    sets: int = Field(50, ge=1, description="random sets of as many heads of the same layers")
    max_heads: int = Field(
        8,
        ge=1,
        description="heads silenced at most, the largest leads first, and no more than two fifths of a layer's",
    )
    other_heads: int = Field(
        4, ge=0, description="heads of the same layer that each single head is compared with"
    )
    relations: tuple[str, ...] = Field((), description="heads that know one of these; empty: any")

    @model_validator(mode="after")
    def _ways_differ(self) -> Self:
        if len(set(self.how)) != len(self.how):
            raise ValueError("knockout.how names a way twice")
        return self


class ProbeSettings(Section):
    """`probe`: which attention heads resolve which dependency relations."""

    treebank: str
    language: str
    relations: tuple[str, ...] = Field((), description="empty: every relation with at least `min_arcs` arcs")
    min_arcs: int = Field(20, ge=2)
    max_sentences: int | None = Field(None, ge=2)
    batch_sentences: int = Field(32, ge=1)
    alpha: float = Field(
        0.05,
        gt=0.0,
        lt=0.5,
        description="false discovery rate at which heads know a relation, are gained or lost",
    )
    random_models: int = Field(
        1,
        ge=0,
        description="models with random weights, a baseline: each costs one pass and the memory of a base",
    )
    pairs: tuple[PairSettings, ...] = Field((), description="minimal pairs, scored with base and adapted")
    knockout: KnockoutSettings | None = None
    mean_of_pieces: bool = Field(
        False,
        description="a check: findings anew with words read as the mean of their pieces, not the last; two passes more",
    )
    case_study: CaseStudy | None = None

    def held_out(self, evaluate: EvaluateSettings | None) -> tuple[HeldOutText, ...]:
        """The held-out lines that the knock-out scores."""
        if self.knockout is None:
            return ()
        if self.knockout.held_out is not None:
            return (self.knockout.held_out,)
        texts = evaluate.bits_per_byte if evaluate else ()
        return tuple(text for text in texts if text.language == self.language)

    @model_validator(mode="after")
    def _names_of_pairs_differ(self) -> Self:
        if len({found.name for found in self.pairs}) != len(self.pairs):
            raise ValueError("names of sets of pairs must differ")
        return self
