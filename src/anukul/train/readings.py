"""What one reading of the ledger says: adapted minus base of each probe, whether to stop, whether it is the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from anukul import stats
from anukul.config import LedgerSettings
from anukul.train.probes import Floats, Kind, Probe

# A forward pass against forward and backward: 2 of 4 operations per weight and token where the base is frozen, 2 of 6
# where activations are computed again. The dearer of the two is taken.
FORWARD = 0.5
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Change:
    """One probe in one reading: base and adapted on the same items, and the interval of their paired difference."""

    kind: Kind
    name: str
    language: str
    n: int  # lines or questions
    base: float
    adapted: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of ledger.jsonl."""

    step: int  # finished steps
    changes: tuple[Change, ...]
    within: bool | None  # whether forgetting, as estimated, is within the budget; None without a budget
    best: bool  # of the readings so far, by `keep_best`
    stop: str | None  # why the stage must stop

    def of(self, language: str) -> Change:
        """The bits per byte of a language."""
        return next(c for c in self.changes if c.kind == "bits_per_byte" and c.language == language)


def cadence(asked: int, steps: int, probe_tokens: int, stage_tokens: int, share: float) -> int:
    """Return the steps from one reading to the next: as asked, or as many more as keep the cost within `share`.

    Decided by token counts alone, so that it is the same on every machine and after every interruption. The base's
    scores count as a reading, and there is always one at the end.
    """
    affordable = int(share * stage_tokens / max(1.0, FORWARD * probe_tokens)) - 1
    return max(asked, ceil(steps / max(1, affordable)))


def predicted_share(steps: int, every: int, probe_tokens: int, stage_tokens: int) -> float:
    """Return the seconds that the ledger will take per second of training, predicted from token counts."""
    return (ceil(steps / every) + 1) * FORWARD * probe_tokens / stage_tokens


def compare(probe: Probe, base: Floats, adapted: Floats, seed: int, confidence: float) -> Change:
    """Return adapted minus base with its interval: a ratio of sums over items, clusters resampled, both paired."""
    sizes, clusters = probe.sizes, probe.clusters
    drawn = stats.bootstrap_ratios(adapted - base, sizes, seed, RESAMPLES, clusters)[:, 0]
    total = float(sizes.sum())
    value = float((adapted - base).sum()) / total
    ends = stats.interval(value, drawn, confidence, len(set(clusters)))
    return Change(
        kind=probe.kind,
        name=probe.name,
        language=probe.language,
        n=len(sizes),
        base=float(base.sum()) / total,
        adapted=float(adapted.sum()) / total,
        difference=value,
        low=ends.low,
        high=ends.high,
    )


def judge(
    step: int, changes: tuple[Change, ...], before: Sequence[Reading], settings: LedgerSettings
) -> Reading:
    """Return the reading: whether it stops the stage, and whether it is the best so far.

    It stops where adapted minus base bits per byte of the budget's language is above the budget: the interval's lower
    end (a small probe's noise stops nothing), or with `evidence: estimate` the estimate itself. Best is the lowest bits
    per byte of `keep_best` among the readings whose estimate is within the budget; while there is none, the one that
    forgot least; of equals the earlier.
    """
    budget, keep = settings.stop_when, settings.keep_best
    reading = Reading(step, changes, None, False, None)
    within, stop = None, None
    if budget is not None:
        rise = reading.of(budget.language)
        within = rise.difference <= budget.bits_per_byte_rise
        by_interval = budget.evidence == "interval"
        if (rise.low if by_interval else rise.difference) > budget.bits_per_byte_rise:
            stop = (
                f"bits per byte of {budget.language} rose by {rise.difference:.4f} {ends(rise)} over the base at step "
                f"{step}; {'the lower end' if by_interval else 'that'} is above the budget of "
                f"{budget.bits_per_byte_rise:g}"
            )
    best = False
    if keep is not None:

        def rank(one: Reading, fits: bool | None) -> tuple[bool, float]:
            if fits is False and budget is not None:
                return True, one.of(budget.language).difference
            return False, one.of(keep.language).adapted

        best = all(rank(reading, within) < rank(earlier, earlier.within) for earlier in before)
    return Reading(step, changes, within, best, stop)


def _shown(change: Change, value: float) -> str:
    return f"{value:+.3f}" if change.kind == "bits_per_byte" else f"{100 * value:+.1f}"


def signed(change: Change) -> str:
    """The difference with its sign, in bits per byte or in points of accuracy."""
    return _shown(change, change.difference).replace("-", "−")


def ends(change: Change) -> str:
    """The ends of its interval."""
    return f"[{_shown(change, change.low)}, {_shown(change, change.high)}]".replace("-", "−")


def unit(change: Change) -> str:
    """What it is counted in."""
    return " bits per byte" if change.kind == "bits_per_byte" else " points"
