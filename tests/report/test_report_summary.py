"""The sentences: every verdict follows from an interval."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import made_run
import pytest

from anukul.report import summary, verdicts
from anukul.report.changes import clearest
from anukul.report.data import Measure, Score
from anukul.report.load import load_run
from anukul.report.probedata import Choice, Finding

NONE = Measure()


def score(difference: Measure, base: Measure = NONE, adapted: Measure = NONE, **given: Any) -> Score:
    row: dict[str, Any] = {"where": "here", "kind": "multiple_choice", "task": "t", "language": "npi_Deva"}
    row |= {"role": "target", "split": "all", "phenomenon": "", "shots": 0, "metric": "accuracy", "n": 100}
    row |= {"chance": 0.25, "p": None, "q": None, "lost": None, "gained": None}
    row |= {"increase_base": None, "increase_adapted": None}
    return Score(**{**row, "difference": difference, "base": base, "adapted": adapted, **given})


@pytest.mark.parametrize(
    ("low", "high", "accuracy", "bits"),
    [
        (0.01, 0.05, "better", "worse"),
        (-0.05, -0.01, "worse", "better"),
        (-0.01, 0.05, "no detectable change", "no detectable change"),
        (0.0, 0.05, "no detectable change", "no detectable change"),
        (-0.05, 0.0, "no detectable change", "no detectable change"),
        (0.0, 0.0, "no detectable change", "no detectable change"),
    ],
)
def test_verdict_follows_from_the_interval(low: float, high: float, accuracy: str, bits: str) -> None:
    difference = Measure((low + high) / 2, low, high)
    assert verdicts.verdict(score(difference)) == accuracy
    assert verdicts.verdict(score(difference, metric="bits_per_byte", chance=None)) == bits


@pytest.mark.parametrize(
    "difference", [Measure(), Measure(0.3), Measure(0.3, 0.2, None), Measure(None, 0.1, 0.2)]
)
def test_no_interval_no_verdict(difference: Measure) -> None:
    assert verdicts.verdict(score(difference)) == "not measured"


@pytest.mark.parametrize(
    ("base", "adapted", "note"),
    [
        ((0.2, 0.3), (0.2, 0.3), "both at chance"),
        ((0.25, 0.3), (0.3, 0.4), "base at chance"),
        ((0.3, 0.4), (0.2, 0.25), "adapted at chance"),
        ((0.3, 0.4), (0.3, 0.4), ""),
        ((0.1, 0.2), (0.1, 0.2), "both below chance"),
        ((0.1, 0.2), (0.2, 0.3), "base below chance, adapted at chance"),
    ],
)
def test_chance(base: tuple[float, float], adapted: tuple[float, float], note: str) -> None:
    measures = [Measure(sum(ends) / 2, *ends) for ends in (base, adapted)]
    row = score(Measure(0, -0.1, 0.1), *measures)
    assert verdicts.chance_note(row) == note
    assert verdicts.everything_at_chance([row]) == (note == "both at chance")
    assert verdicts.chance_note(score(Measure(), *measures, chance=None)) == ""


@pytest.mark.parametrize(
    ("models", "note"),
    [
        ((), ""),
        (("adapted",), "adapted gives the same choice to every item"),
        (("base", "adapted"), "both models give the same choice to every item"),
    ],
)
def test_one_answer_to_all_takes_weight_from_a_verdict(models: tuple[str, ...], note: str) -> None:
    above = Measure(0.4, 0.3, 0.5)
    assert verdicts.notes(score(Measure(0.1, 0.0, 0.2), above, above, one_answer=models)) == note
    below = Measure(0.25, 0.2, 0.3)
    both = verdicts.notes(score(Measure(), below, below, one_answer=models))
    assert both == " · ".join(filter(None, ("both at chance", note)))


def test_nothing_is_not_everything_at_chance() -> None:
    assert not verdicts.everything_at_chance([])


def test_tally_counts_each_word() -> None:
    better, worse, same = Measure(0.2, 0.1, 0.3), Measure(-0.2, -0.3, -0.1), Measure(0, -0.1, 0.1)
    rows = [score(better), score(worse), score(better), score(same), score(Measure())]
    expected = "Better on 2 of 5 measures, worse on 1, no detectable change on 1, not measured on 1"
    assert summary.tally(rows) == expected
    assert summary.tally([score(worse)]) == "Worse on 1 of 1 measure"
    assert summary.tally([]) == "Nothing measured"


def test_answers_say_number_n_and_interval(tmp_path: Path) -> None:
    data = load_run(made_run.make_run(tmp_path, layers=2, heads=2), tmp_path)
    learned, forgot, shots, heads = summary.answers(data)
    claim = learned.claims[0]
    assert claim.subject == "Held-out Nepali text, flores-nepali (bits per byte)"
    assert claim.text == (
        "Base 1.31 [1.29, 1.33], adapted 0.720 [0.700, 0.740]; difference −0.590 [−0.610, −0.570], n = 1,012."
    )
    assert (claim.verdict, claim.source) == ("better", "evaluate/scores.json: scores[0]")
    assert forgot.headline.startswith("Worse on 3 of 5 measures")
    assert [c.verdict for c in forgot.claims[:3]] == ["worse", "worse", "worse"]
    assert len([c for c in shots.claims if "n = 500" in c.text]) == 4
    assert all(c.source.startswith("evaluate/scores.json: retention[") for c in shots.claims)
    assert "of n = 5 pairs of relation and direction" in heads.claims[0].text.lower()
    for answer in (learned, forgot, shots, heads):
        assert all(not claim.verdict or "n = " in claim.text for claim in answer.claims)


def test_no_loss_found_is_not_called_proof(tmp_path: Path) -> None:
    import numpy as np

    config = made_run.make_run(tmp_path, layers=2, heads=2)
    made_run.make_evaluation(tmp_path, np.random.default_rng(1), chance_only=True, loss=0.0)
    data = load_run(config, tmp_path)
    assert data.evaluation
    rows = tuple(s for s in data.evaluation.scores if s.kind != "knowledge")
    kept = type(data.evaluation)(0.95, rows, "")
    answer = summary.forgot(
        type(data)(**{**{f: getattr(data, f) for f in data.__slots__}, "evaluation": kept})
    )
    assert "worse" not in answer.headline.lower()
    assert "not proof" in answer.claims[-1].text


def test_a_head_beats_the_offset_only_by_its_interval(tmp_path: Path) -> None:
    data = load_run(made_run.make_run(tmp_path, layers=2, heads=2), tmp_path)
    assert data.probe
    for finding in data.probe.findings:
        for choice in (finding.base, finding.adapted):
            assert choice.over_offset.low is not None
            assert verdicts.reads(choice) == (choice.over_offset.low > 0)


def around(value: float, half: float = 0.05) -> Measure:
    return Measure(value, value - half, value + half)


def finding(base: tuple[int, float, float], adapted: tuple[int, float, float]) -> Finding:
    """A finding from (head, accuracy, change of that head) of either model."""
    sides = [
        Choice("here", 0, head, around(accuracy), None, around(0.1), 0.01, around(change))
        for head, accuracy, change in (base, adapted)
    ]
    return Finding("here", "obj", "head", 100, 50, *sides, 0.3, -1, 0.2)


@pytest.mark.parametrize(
    ("base", "adapted", "word"),
    [
        ((1, 0.5, 0.2), (1, 0.7, 0.2), "better"),
        ((1, 0.7, -0.2), (1, 0.5, -0.2), "worse"),
        ((1, 0.5, 0.01), (1, 0.51, 0.01), "no detectable change"),
        ((1, 0.5, 0.0), (2, 0.7, 0.4), "better"),
        ((1, 0.7, 0.0), (2, 0.72, 0.4), "moved"),
        ((1, 0.7, -0.4), (2, 0.5, 0.0), "worse"),
        ((1, 0.7, -0.4), (2, 0.69, 0.4), "moved"),
        ((1, 0.7, 0.0), (2, 0.71, 0.02), "no detectable change"),
    ],
)
def test_a_move_from_head_to_head_is_no_gain(
    base: tuple[int, float, float], adapted: tuple[int, float, float], word: str
) -> None:
    assert verdicts.head_verdict(finding(base, adapted)) == word


def test_a_verdict_that_correction_would_not_keep_is_doubted() -> None:
    better = Measure(0.1, 0.05, 0.15)
    assert verdicts.doubtful(score(better, q=0.05)) == ""
    assert verdicts.doubtful(score(better, q=None)) == ""
    assert verdicts.doubtful(score(better, q=0.2)).startswith("q = .200")
    assert verdicts.doubtful(score(Measure(0.0, -0.1, 0.1), q=0.9)) == ""


def test_a_gain_that_correction_would_not_keep_is_doubted(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    claims = summary.shots(load_run(config, tmp_path)).claims
    doubted = {claim.verdict for claim in claims if "q = .110: among so many comparisons" in claim.text}
    assert doubted == {claim.verdict for claim in claims} - {"no detectable change"} != set()


def test_backward_transfer_needs_tasks_to_average(tmp_path: Path) -> None:
    config = made_run.make_run(tmp_path, layers=2, heads=2)
    data = load_run(config, tmp_path)
    assert data.evaluation
    claim = summary.forgot(data).claims[-1]
    assert claim.subject == "Backward transfer over 2 forgetting tasks, 0 shots"
    assert (claim.verdict, claim.source) == ("worse", "evaluate/scores.json: backward_transfer[1]")
    alone = [replace(row, tasks=row.tasks[:1]) for row in data.evaluation.transfers]
    evaluation = replace(data.evaluation, transfers=tuple(alone))
    assert "Backward" not in summary.forgot(replace(data, evaluation=evaluation)).claims[-1].subject


@pytest.mark.parametrize(
    ("lost", "gained", "shown"),
    [(30, 30, (5, 5)), (2, 30, (2, 8)), (30, 1, (9, 1)), (3, 0, (3, 0)), (4, 5, (4, 5))],
)
def test_ten_flips_half_lost_and_half_gained(lost: int, gained: int, shown: tuple[int, int]) -> None:
    made = made_run.make_flips()
    flips = [replace(made[0], direction="gained", item=f"g{n}") for n in range(gained)]
    flips[1:1] = [replace(made[0], direction="lost", item=f"l{n}") for n in range(lost)]
    found = clearest(flips)
    assert [flip.item for flip in found] == [f"l{n}" for n in range(shown[0])] + [
        f"g{n}" for n in range(shown[1])
    ]


@pytest.mark.parametrize(
    ("base", "adapted", "said"), [(33.4, 33.3, True), (9.0, 2.0, False), (2.0, 1.0, False)]
)
def test_bits_per_byte_worse_than_random_are_called_so(
    tmp_path: Path, base: float, adapted: float, said: bool
) -> None:
    data = load_run(made_run.make_run(tmp_path, layers=2, heads=2), tmp_path)
    row = score(around(adapted - base), around(base), around(adapted), metric="bits_per_byte", chance=None)
    assert ("random bytes would need 8" in summary.sentence(row, data, "Text").text) == said
