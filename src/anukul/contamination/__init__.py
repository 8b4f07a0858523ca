"""Which training texts hold what the run evaluates on: below the steps, as corpus and synth both ask."""

from anukul.contamination.gathered import forget, gather, indexed
from anukul.contamination.index import Contamination, EvalText, Hit
from anukul.contamination.items import EvalSet, eval_sets, eval_texts
from anukul.contamination.tally import Tally

__all__ = [
    "Contamination",
    "EvalSet",
    "EvalText",
    "Hit",
    "Tally",
    "eval_sets",
    "eval_texts",
    "forget",
    "gather",
    "indexed",
]
