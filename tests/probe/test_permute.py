"""Arcs permuted with their offsets kept: position keeps its score, grammar loses it, chance is named at its rate."""

import numpy as np
import pytest

from anukul.probe import permute
from anukul.probe.permute import (
    Looked,
    chosen_families,
    design_effects,
    looked,
    max_statistic,
    permuted,
    permuted_accuracy,
    strata,
)


def made(rng: np.random.Generator, arcs: int, heads: int) -> Looked:
    """Arcs at places 3 to 9 with true distances of any length, and heads that look anywhere."""
    query = rng.integers(3, 10, arcs)
    true = rng.integers(1, query + 1)
    looks = rng.integers(1, query[:, None] + 1, (arcs, heads))
    return Looked(looks, true, strata(query))


def test_strata_hold_neighboring_places_and_enough_arcs() -> None:
    query = np.array([1] * 9 + [2] * 3 + [3] * 5 + [4] * 2 + [9])
    assert strata(query).tolist() == [0] * 9 + [1] * 11
    assert strata(np.array([5, 5, 6])).tolist() == [0, 0, 0]
    rng = np.random.default_rng(0)
    query = rng.integers(1, 60, 500)
    assert np.bincount(strata(query)).min() >= permute.STRATUM
    assert (np.diff(strata(np.sort(query))) >= 0).all()


def test_position_keeps_its_score_and_grammar_loses_it() -> None:
    rng = np.random.default_rng(1)
    query = np.repeat(np.arange(4, 10), 40)
    true = np.where(rng.random(240) < 0.6, 1, rng.integers(1, 5, 240))
    looks = np.stack([np.full(240, 1), query, true, rng.integers(1, 5, 240)], 1)
    table = Looked(looks, true, strata(query))
    own = (looks == true[:, None]).mean(0)
    expected = permuted_accuracy(table)
    assert expected[0] == pytest.approx(own[0], abs=1e-12)  # one word back, whatever is asked
    assert expected[1] == pytest.approx(own[1], abs=1e-12)  # always the first word
    assert own[2] == 1.0 and expected[2] < 0.6
    p = max_statistic(table, np.arange(240), np.random.default_rng(2))
    assert p[0] == p[1] == pytest.approx(1.0, abs=0.2)
    assert p[2] == 1 / (permute.PERMUTATIONS + 1)
    assert p[3] > 0.05


def test_the_mean_over_permutations_is_that_of_drawn_ones() -> None:
    rng = np.random.default_rng(3)
    table = made(rng, 60, 5)
    drawn = permuted(table, 4000, rng)
    assert (np.sort(drawn, 1) == np.sort(table.true)).all()
    for stratum in np.unique(table.stratum):
        inside = table.stratum == stratum
        assert (np.sort(drawn[:, inside], 1) == np.sort(table.true[inside])).all()
    seen = (drawn[:, :, None] == table.looks[None]).mean((0, 1))
    assert seen == pytest.approx(permuted_accuracy(table), abs=0.005)


def test_memory_is_bounded_and_chunks_do_not_change_p(monkeypatch: pytest.MonkeyPatch) -> None:
    table = made(np.random.default_rng(4), 90, 6)
    whole = max_statistic(table, np.arange(90), np.random.default_rng(5))
    monkeypatch.setattr(permute, "CELLS", 90 * 6 * 7)
    assert max_statistic(table, np.arange(90), np.random.default_rng(5)).tolist() == whole.tolist()


def test_heads_that_know_nothing_are_found_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(6)
    found = 0
    for trial in range(150):
        p = max_statistic(made(rng, 120, 20), np.arange(120) // 2, np.random.default_rng(trial))
        found += p.min() <= 0.05
    # 5 % nominal: the 99.9 % binomial quantile of 150 trials
    assert found <= 17


def test_one_look_of_a_whole_sentence_counts_once() -> None:
    # the four arcs of a sentence share their true distance, and each head looks as far for all of them
    rng = np.random.default_rng(7)
    sentence = np.repeat(np.arange(40), 4)
    found = naive = 0
    for trial in range(100):
        true = rng.integers(1, 5, 40)[sentence]
        looks = rng.integers(1, 5, (40, 10))[sentence]
        table = Looked(looks, true, np.zeros(160, dtype=np.int64))
        found += max_statistic(table, sentence, np.random.default_rng(trial)).min() <= 0.05
        naive += max_statistic(table, np.arange(160), np.random.default_rng(trial)).min() <= 0.05
    assert found <= 12  # 99.9 % of 100 at 5 %
    assert naive > 40  # taken as independent arcs they would be named
    assert design_effects(table, sentence) == pytest.approx(np.full(10, 4.0))
    assert (design_effects(table, np.arange(160)) == 1.0).all()


def test_a_head_that_looks_at_nothing_finds_nothing() -> None:
    found = np.array([[[-1, 2]], [[-1, 1]], [[-1, 0]]], dtype=np.int16)
    table = looked(found, np.array([3, 3, 3]), np.array([1, 1, 1]))
    assert table.looks.tolist() == [[0, 1], [0, 2], [0, 3]]
    assert permuted_accuracy(table).tolist() == pytest.approx([0.0, 1 / 3])
    assert max_statistic(table, np.arange(3), np.random.default_rng(0))[0] == 1.0


def test_families_are_chosen_first_and_then_their_heads() -> None:
    assert chosen_families([0.001, 0.02, 0.9, 0.5], 0.05) == ([True, True, False, False], 0.025)
    assert chosen_families([0.6, 0.9], 0.05) == ([False, False], 0.0)
    assert chosen_families([], 0.05) == ([], 0.0)
