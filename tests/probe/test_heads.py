"""Scoring on attention made up here: planted heads are named, and random ones beat nothing."""

import numpy as np
import pytest

from anukul.probe import heads, resample
from anukul.probe.choose import Permuted, add_permutations, add_q_values, resolving_heads, select
from anukul.probe.heads import ArcTable, Scores, best_head, cross_fit, groups_of, half_of
from anukul.probe.scores import head_rows
from anukul.probe.treebank import Arc


def table_of(arcs: list[Arc], per_sentence: int) -> ArcTable:
    sentence = np.arange(len(arcs)) // per_sentence
    return ArcTable(tuple(arcs), sentence, sentence % 2)


def random_arcs(rng: np.random.Generator, count: int, relation: str) -> list[Arc]:
    queries = rng.integers(2, 12, count)
    return [Arc(int(q), int(rng.integers(0, q)), relation, "head") for q in queries]


def random_scores(rng: np.random.Generator, arcs: list[Arc], layers: int = 3, count: int = 4) -> Scores:
    """Heads that guess evenly among the earlier words."""
    chance = np.array([1 / arc.query for arc in arcs])[:, None, None]
    correct = rng.random((len(arcs), layers, count)) < chance
    return scores_of(arcs, correct, rng.random(correct.shape).astype(np.float32))


def scores_of(arcs: list[Arc], correct: np.ndarray, mass: np.ndarray | None = None) -> Scores:
    """Heads that are right where `correct` says so, and find the word after the true one, or none, elsewhere."""
    key = np.array([arc.key for arc in arcs])[:, None, None]
    query = np.array([arc.query for arc in arcs])[:, None, None]
    found = np.where(correct, key, np.where(key + 1 < query, key + 1, key - 1)).astype(np.int16)
    return Scores(correct, np.zeros(correct.shape, np.float32) if mass is None else mass, found)


def test_a_planted_head_is_named_with_its_numbers() -> None:
    rng = np.random.default_rng(0)
    arcs = random_arcs(rng, 400, "nsubj")
    table = table_of(arcs, 2)
    base, adapted = random_scores(rng, arcs), random_scores(rng, arcs)
    known = rng.random(len(arcs)) < 0.9
    adapted.correct[:, 2, 1] = known
    (group,), rare = groups_of(table, 20)
    entry = select(table, group, {"base": base, "adapted": adapted}, seed=7)
    add_q_values([entry], ("base", "adapted"))
    found = entry["adapted"]
    assert (found["layer"], found["head"]) == (2, 1)
    assert found["accuracy"] == known[table.half == 1].mean()
    assert found["low"] < found["accuracy"] < found["high"]
    assert found["difference_low"] > 0.5
    assert found["q"] < 0.01
    change = found["change"]
    assert change["accuracy"] == pytest.approx(found["accuracy"] - base.correct[table.half == 1, 2, 1].mean())
    assert change["low"] > 0.5
    assert entry["base"]["p"] > 0.01
    assert rare == []
    assert entry["n_report"] == (table.half == 1).sum()
    assert entry["sentences_report"] == 100


def test_rows_agree_with_the_selected_entry_and_with_hand_counts() -> None:
    rng = np.random.default_rng(1)
    arcs = random_arcs(rng, 120, "obj")
    table = table_of(arcs, 3)
    scores = random_scores(rng, arcs)
    (group,), _ = groups_of(table, 20)
    rows = head_rows(table, group, "base", scores, seed=3)
    assert len(rows) == 3 * 3 * 4
    entry = select(table, group, {"base": scores, "adapted": scores}, seed=3)["base"]
    (row,) = [r for r in rows if (r.half, r.layer, r.head) == ("report", entry["layer"], entry["head"])]
    assert (row.accuracy, row.mass, row.low, row.high) == pytest.approx(
        (entry["accuracy"], entry["mass"], entry["low"], entry["high"])
    )
    assert entry["change"] == {"accuracy": 0.0, "low": 0.0, "high": 0.0}
    every = [r for r in rows if r.half == "all"]
    assert [r.n for r in every] == [120] * 12
    assert [r.accuracy for r in every] == pytest.approx(list(scores.correct.mean(0).ravel()))
    hits = np.mean([arc.key - arc.query == group.offset for arc in arcs])
    assert every[0].baseline == pytest.approx(hits)


def test_the_offset_is_chosen_on_the_selection_half_alone() -> None:
    # selection sentences point one back, report sentences two back
    arcs = [Arc(5, 4 if (i // 2) % 2 == 0 else 3, "det", "head") for i in range(40)]
    (group,), _ = groups_of(table_of(arcs, 2), 20)
    assert group.offset == -1
    assert not group.hit[np.array(table_of(arcs, 2).half) == 1].any()
    tied = [Arc(5, 4 - (i % 2) * 2, "det", "head") for i in range(40)]
    assert groups_of(table_of(tied, 4), 20)[0][0].offset == -1


def test_the_head_is_chosen_on_the_selection_half_alone() -> None:
    arcs = random_arcs(np.random.default_rng(2), 80, "obl")
    table = table_of(arcs, 2)
    correct = np.zeros((80, 2, 2), bool)
    correct[table.half == 0, 1, 0] = True
    correct[table.half == 1, 0, 1] = True
    scores = scores_of(arcs, correct)
    (group,), _ = groups_of(table, 20)
    entry = select(table, group, {"base": scores, "adapted": scores}, 0)["base"]
    assert (entry["layer"], entry["head"], entry["accuracy_selection"], entry["accuracy"]) == (1, 0, 1.0, 0.0)


def test_ties_go_to_the_larger_mass_and_then_to_the_lower_number() -> None:
    arcs = [Arc(3, 1, "obj", "head")] * 4
    correct, mass = np.zeros((4, 2, 2), bool), np.zeros((4, 2, 2), np.float32)
    assert best_head(scores_of(arcs, correct, mass), np.arange(4)) == (0, 0)
    mass[:, 1, 0] = 0.5
    assert best_head(scores_of(arcs, correct, mass), np.arange(4)) == (1, 0)
    correct[0, 0, 1] = True
    assert best_head(scores_of(arcs, correct, mass), np.arange(4)) == (0, 1)


def test_rare_relations_are_said_and_asked_relations_kept() -> None:
    arcs = (
        [Arc(3, 1, "obj", "head")] * 30
        + [Arc(3, 1, "iobj", "head")] * 8
        + [Arc(3, 1, "obj", "dependent")] * 4
    )
    table = table_of(arcs, 2)
    groups, rare = groups_of(table, 20)
    assert [g.name for g in groups] == ["obj/head"]
    assert [(r["relation"], r["direction"], r["n"]) for r in rare] == [
        ("iobj", "head", 8),
        ("obj", "dependent", 4),
    ]
    assert groups_of(table, 5, ("iobj",))[0][0].name == "iobj/head"
    one_half = ArcTable(table.arcs, table.sentence, np.zeros_like(table.half))
    assert (
        "fewer than 2 sentences"
        in groups_of(one_half, 20)[1][-1]["reason"] + groups_of(one_half, 20)[1][1]["reason"]
    )


def test_random_heads_beat_the_baseline_no_more_often_than_the_interval_allows() -> None:
    rng = np.random.default_rng(11)
    beaten = significant = 0
    trials = 200
    for trial in range(trials):
        arcs = random_arcs(rng, 240, f"r{trial}")
        table = table_of(arcs, 3)
        scores = random_scores(rng, arcs)
        (group,), _ = groups_of(table, 20)
        entry = select(table, group, {"base": scores, "adapted": scores}, seed=trial)["base"]
        beaten += entry["difference_low"] > 0
        significant += entry["p"] <= 0.05
    # 2.5 % and 5 % nominal; the bounds are their 99.9 % binomial quantiles for 200 trials
    assert beaten <= 13
    assert significant <= 21


def test_intervals_count_sentences_and_not_arcs() -> None:
    # 20 sentences of 10 arcs that are all right or all wrong carry 20 observations, not 200
    correct = np.repeat(np.arange(20) % 2, 10).astype(float)
    sums, counts = correct.reshape(20, 10).sum(1), np.full(20, 10.0)
    drawn = resample.draws(20, resample.generator(0, "x"))
    low, high = resample.ratio_interval(sums, counts, drawn)
    normal = 1.96 * np.sqrt(0.25 / 20)
    assert high - low == pytest.approx(2 * normal, rel=0.15)


def test_the_bootstrap_agrees_with_that_of_stats() -> None:
    from anukul.stats import bootstrap_ratios

    rng = np.random.default_rng(5)
    counts = rng.integers(1, 9, 60)
    right = rng.binomial(counts, 0.4)
    low, high = resample.ratio_interval(
        right.astype(float), counts.astype(float), resample.draws(60, resample.generator(0, "x"))
    )
    expected = np.quantile(bootstrap_ratios(right, counts, seed=1, resamples=4000)[:, 0], [0.025, 0.975])
    assert (float(low), float(high)) == pytest.approx(tuple(expected), abs=0.02)


def test_sign_flip_against_all_flips() -> None:
    values = np.array([3.0, 1, 2, -1, 2, 0, 1, -2])
    held = values[values != 0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(held))).reshape(len(held), -1)
    exact = (held @ signs >= held.sum()).mean()
    assert resample.sign_flip(values, resample.generator(0, "x")) == pytest.approx(exact, abs=0.03)
    assert resample.sign_flip(np.zeros(5), resample.generator(0, "x")) == 1.0


def test_halves_depend_on_seed_and_id_and_are_even() -> None:
    ids = [f"s{i}" for i in range(400)]
    halves = [half_of(0, i) for i in ids]
    assert halves == [half_of(0, i) for i in ids]
    assert halves != [half_of(1, i) for i in ids]
    assert 160 < halves.count("report") < 240
    assert set(halves) == set(heads.HALVES[:2])


def test_cross_fitting_judges_each_half_by_the_other() -> None:
    arcs = random_arcs(np.random.default_rng(3), 80, "obl")
    table = table_of(arcs, 2)
    correct = np.zeros((80, 2, 2), bool)
    correct[table.half == 0, 1, 0] = True  # best on the selection half, and never right on the other
    correct[table.half == 1, 0, 1] = True
    (group,), _ = groups_of(table, 20)
    crossed = cross_fit(group, scores_of(arcs, correct))
    assert crossed.heads == ((1, 0), (0, 1)) and not crossed.correct.any()
    correct[:, 0, 0] = np.arange(80) % 5 > 0
    entry = select(table, group, dict.fromkeys(("base", "adapted"), scores_of(arcs, correct)), 0)["base"]
    assert entry["crossfit"]["accuracy"] == 0.0 and entry["crossfit"]["n"] == 80
    correct[:] = False
    correct[:, 0, 0] = np.arange(80) % 5 > 0
    entry = select(table, group, dict.fromkeys(("base", "adapted"), scores_of(arcs, correct)), 0)["base"]
    assert entry["crossfit"]["heads"] == [[0, 0], [0, 0]]
    assert entry["crossfit"]["accuracy"] == pytest.approx(0.8)
    assert entry["crossfit"]["low"] < 0.8 < entry["crossfit"]["high"]


def test_the_offset_is_cross_fitted_too() -> None:
    # selection sentences point one back, report sentences two back: neither half's offset serves the other
    arcs = [Arc(5, 4 if (i // 2) % 2 == 0 else 3, "det", "head") for i in range(40)]
    (group,), _ = groups_of(table_of(arcs, 2), 20)
    assert group.offsets == (-1, -2) and not group.crossed_hit.any()
    assert group.hit.mean() == 0.5


def test_both_directions_are_pooled_by_arc() -> None:
    arcs = (
        [Arc(4, 3, "obj", "dependent")] * 12
        + [Arc(4, 2, "obj", "head")] * 28
        + [Arc(4, 2, "det", "head")] * 40
    )
    correct = np.zeros((80, 1, 1), bool)
    correct[:12] = True
    table = table_of(arcs, 2)
    groups, rare = groups_of(table, 20, pooled=True)
    assert [g.name for g in groups] == ["obj/both"] and rare == []  # det has one direction: nothing to pool
    every = [r for r in head_rows(table, groups[0], "base", scores_of(arcs, correct), 0) if r.half == "all"]
    assert (every[0].accuracy, every[0].n, every[0].direction) == (12 / 40, 40, "both")
    assert every[0].uniform == 0.25
    assert [g.name for g in groups_of(table, 20)[0]] == ["det/head", "obj/head"]


def test_a_head_is_named_only_where_all_controls_agree() -> None:
    rng = np.random.default_rng(4)
    arcs = random_arcs(rng, 400, "nsubj")
    table = table_of(arcs, 2)
    knows = random_scores(rng, arcs).correct
    knows[:, 2, 1] = rng.random(400) < 0.9
    models = {"base": random_scores(rng, arcs), "adapted": scores_of(arcs, knows)}
    (group,), _ = groups_of(table, 20)

    def named(model: str, tested: Permuted, randoms: tuple[Scores, ...]) -> list[list[int]]:
        entry = select(table, group, models, 7, randoms)
        add_q_values([entry], ("base", "adapted"))
        for name, scores in models.items():
            add_permutations(entry, name, tested, scores.correct.mean(0), 0.05)
        for item in resolving_heads([entry], model):
            assert item["relations"] == ["nsubj/head"] and item["named"] and item["lead"] > 0.5
        found: list[list[int]] = entry[model]["named"]
        assert [[one["layer"], one["head"]] for one in entry[model]["resolvers"]] == found
        return found

    sure = np.ones((3, 4))
    sure[2, 1] = 0.001
    weak = (random_scores(rng, arcs),)
    assert named("adapted", Permuted(sure, 0.001, True, 0.05), weak) == [[2, 1]]
    assert named("base", Permuted(sure, 0.001, True, 0.05), weak) == []  # no lead over the offset
    assert named("adapted", Permuted(np.ones((3, 4)), 0.001, True, 0.05), weak) == []  # positions explain it
    assert named("adapted", Permuted(sure, 0.2, False, 0.0), weak) == []
    equal = (scores_of(arcs, knows),)  # a model with random weights that does as well
    assert named("adapted", Permuted(sure, 0.001, True, 0.05), equal) == []
