"""Whether more pieces are worth their cost: what they would save, what they would cost, and what may go wrong."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anukul.model.shape import Shape

TRAINED_BYTES = 4 + 4 + 8  # fp32 weight, gradient, two Adam moments
# Rules of thumb of this project, not measured results; docs/decisions/0008.
WORTH = 0.2  # share of the tokens of held-out text that must be saved
SEEN = 100  # how often half of the new pieces must stand in the text that trains them
ENOUGH = 1_000_000_000  # tokens of the language to train on
SPELLED = 0.5  # share of tokens that are parts of characters
EVIDENCE = (
    "how much is enough is not settled: 2 B tokens were in EEVE-Korean (arXiv 2402.14714), tens of billions were not "
    "in Zhao et al. 2024 (arXiv 2401.01055)"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One size of extension, learnt from the training text and measured on text that it has not seen."""

    asked: int
    pieces: int
    tokens_per_word: float
    saved: float  # share of the held-out tokens
    median_uses: float  # of a new piece in the training text
    base_unchanged: bool  # every held-out line of the base language is cut as before
    parameters: int | None  # of the new rows; None where the model's shape is not known
    memory: int | None  # bytes to train them
    merged_bytes: int | None  # what a merged model in 2 bytes a weight grows by
    hours: float | None  # of one pass over the training text, with these pieces
    hours_now: float

    def as_json(self) -> dict[str, Any]:
        """All fields by name."""
        return asdict(self)


def candidate(
    asked: int,
    uses: Sequence[int],
    tokens_per_word: float,
    before: float,
    base_unchanged: bool,
    training_tokens: float,
    throughput: float,
    shape: "Shape | None",
) -> Candidate:
    """Put what was measured beside what it costs.

    Hours: of the tokens that are left, each dearer by the new rows of the head. Counted in multiplications per token, a
    frozen weight costs 2 (forward, and backward to its input) and a trained row 3.
    """
    pieces = len(uses)
    saved = 1 - tokens_per_word / before
    hours_now = training_tokens / throughput / 3600
    parameters = memory = merged = hours = None
    if shape is not None:
        parameters = pieces * shape.hidden * (1 if shape.tied else 2)
        memory, merged = parameters * TRAINED_BYTES, parameters * 2
        head = shape.vocabulary * shape.hidden
        now = 2 * (shape.linear_parameters + head)
        hours = hours_now * (1 - saved) * (now + 3 * pieces * shape.hidden) / now
    return Candidate(
        asked,
        pieces,
        tokens_per_word,
        saved,
        float(median(uses)),
        base_unchanged,
        parameters,
        memory,
        merged,
        hours,
        hours_now,
    )


def advise(chosen: Candidate, training_tokens: float, partial_share: float) -> tuple[bool, list[str]]:
    """Return whether to extend, and why; the first reasons are those that decided.

    `partial_share` is the share of tokens that are parts of characters: where most are, the base spells the language in
    bytes, and more text is not asked for.
    """
    spelled = partial_share > SPELLED
    against: list[str] = []
    if chosen.saved < WORTH:
        against.append(
            f"it saves {chosen.saved:.0%} of the tokens, less than the {WORTH:.0%} that is worth a change"
        )
    if chosen.median_uses < SEEN:
        against.append(
            f"half of the new pieces stand at most {chosen.median_uses:,.0f} times in the training text; a row that "
            f"is seen fewer than {SEEN} times stays near the mean that it started from; ask for fewer pieces"
        )
    if training_tokens < ENOUGH and not spelled:
        against.append(
            f"there are {training_tokens / 1e6:,.1f} M tokens to train on, below {ENOUGH / 1e6:,.0f} M: {EVIDENCE}"
        )
    if not chosen.base_unchanged:
        against.append("it changes how the base language is cut")
    if against:
        return False, [
            *against,
            f"what speaks for it: {chosen.saved:.0%} fewer tokens, so faster answers and more text in the window",
        ]
    return True, [
        f"it saves {chosen.saved:.0%} of the tokens of held-out text: training and answers take about that much less "
        "time, and the window holds more text",
        f"half of the new pieces stand at least {chosen.median_uses:,.0f} times in the training text",
        f"the base spells the language in bytes ({partial_share:.0%} of the tokens are parts of characters): it has no "
        "rows for its letters that would be lost"
        if spelled
        else f"there are {training_tokens / 1e6:,.0f} M tokens to train on",
    ]


RISKS = (
    "the new rows start as means and must be learnt: until then the model is worse than before; compare bits per "
    "byte, which do not depend on the tokenizer",
    "a run with other pieces has another context in words and other lengths of generated texts: numbers per token do "
    "not compare",
    "tools that do not read the tokenizer's files cut differently: llama.cpp has the pre-tokenizers of known models "
    "built in, and does not keep words of the script whole",
)
