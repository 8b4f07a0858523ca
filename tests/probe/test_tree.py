"""The tree score and the changes of heads, against what was put in."""

import numpy as np
import pytest
from test_heads import random_arcs, random_scores, scores_of, table_of

from anukul.probe.changes import head_changes, judge, summary
from anukul.probe.heads import groups_of
from anukul.probe.tree import tree_scores
from anukul.probe.treebank import Arc
from anukul.stats import mcnemar_clustered


def test_every_arc_counts_and_is_judged_by_the_other_halfs_choice() -> None:
    # three relations: one that head (0, 0) knows, one that (1, 1) knows, one too rare to have a head
    arcs = [Arc(6, int(k), "nsubj", "dependent") for k in np.random.default_rng(0).integers(0, 6, 60)]
    arcs += [Arc(5, 4, "case", "dependent")] * 39 + [Arc(5, 1, "iobj", "head")]
    correct = np.zeros((100, 2, 2), bool)
    correct[:60, 0, 0] = True
    adapted = correct.copy()
    adapted[60:99, 1, 1] = True
    table = table_of(arcs, 1)
    tree = tree_scores(table, {"base": scores_of(arcs, correct), "adapted": scores_of(arcs, adapted)}, 0)
    assert (tree["arcs"], tree["sentences"]) == (100, 100)
    assert tree["base"]["value"] == pytest.approx(0.6)
    assert tree["adapted"]["value"] == pytest.approx(0.99)
    assert tree["offset"]["value"] >= 0.39  # one back is every arc of case
    gain = tree["adapted_minus_base"]
    assert gain["value"] == pytest.approx(0.39)
    assert 0.25 < gain["low"] < gain["value"] < gain["high"] < 0.5 and gain["p"] < 1e-6
    assert "random" not in tree


def test_chance_resolves_no_more_than_chance() -> None:
    rng = np.random.default_rng(1)
    arcs = random_arcs(rng, 3000, "obl")
    base, adapted, weightless = (random_scores(rng, arcs) for _ in range(3))
    tree = tree_scores(table_of(arcs, 3), {"base": base, "adapted": adapted}, 0, (weightless,))
    chance = np.mean([1 / arc.query for arc in arcs])
    for name in ("base", "adapted", "random"):
        assert tree[name]["value"] == pytest.approx(chance, abs=0.03)  # the best of twelve heads is no better
    assert tree["adapted_minus_base"]["low"] < 0 < tree["adapted_minus_base"]["high"]


def test_gained_and_lost_heads_are_listed_with_their_numbers() -> None:
    rng = np.random.default_rng(2)
    arcs = random_arcs(rng, 300, "nsubj")
    base = random_scores(rng, arcs)
    after = random_scores(rng, arcs).correct
    base.correct[:, 0, 1] = rng.random(300) < 0.8
    after[:, 0, 1] = rng.random(300) < 0.3
    after[:, 2, 3] = rng.random(300) < 0.9
    adapted = scores_of(arcs, after)
    table = table_of(arcs, 2)
    (group,), _ = groups_of(table, 20)
    rows = head_changes(table, group, base, adapted, 0)
    judge(rows, 0.05)
    made = summary(rows, 0.05)
    assert (made["tests"], made["gained_count"], made["lost_count"]) == (12, 1, 1)
    gained, lost = made["gained"][0], made["lost"][0]
    assert (gained["layer"], gained["head"], gained["n"]) == (2, 3, 300)
    assert (lost["layer"], lost["head"]) == (0, 1)
    assert lost["low"] < lost["change"] < lost["high"] < 0 < gained["low"] < gained["change"]
    for row in rows:
        change = after[:, row.layer, row.head].astype(float) - base.correct[:, row.layer, row.head]
        assert row.change == pytest.approx(change.mean())
        assert row.arcs_gained - row.arcs_lost == change.sum()
        assert row.p == pytest.approx(mcnemar_clustered(change, table.sentence.tolist()))
        assert row.p <= row.q <= 1.0


def test_heads_that_did_not_change_are_gained_at_no_more_than_the_nominal_rate() -> None:
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(100):
        arcs = random_arcs(rng, 120, "obl")
        table = table_of(arcs, 2)
        (group,), _ = groups_of(table, 20)
        rows = head_changes(table, group, random_scores(rng, arcs), random_scores(rng, arcs), 0)
        judge(rows, 0.05)
        found += any(row.verdict for row in rows)
    assert (
        found <= 12
    )  # of nothing but null hypotheses the discovery rate is the rate of any discovery: 99.9 %
