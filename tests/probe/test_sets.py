"""Sets of heads like the named one: the same layers, all different, and the truth about how many there are."""

from math import comb

import numpy as np
import pytest

from anukul.probe.sets import RandomSets, choose_heads, random_sets, trials_of


def layers_of(heads: tuple[tuple[int, int], ...]) -> list[int]:
    return sorted(layer for layer, _ in heads)


def drawn(selected: list[tuple[int, int]], heads: int, count: int = 50, seed: int = 0) -> RandomSets:
    return random_sets(selected, heads, count, np.random.default_rng(seed))


@pytest.mark.parametrize("heads", [12, 64])
def test_sets_stay_in_the_layers_and_leave_the_named_heads_out(heads: int) -> None:
    selected = [(0, 3), (2, 1), (2, 5), (2, 7)]
    found = drawn(selected, heads)
    assert len(set(found.sets)) == len(found.sets) == 50
    assert all(layers_of(item) == [0, 2, 2, 2] for item in found.sets)
    assert not any(set(item) & set(selected) for item in found.sets)
    assert found.distinct == (heads - 1) * comb(heads - 3, 3)
    assert not found.overlap and not found.exact and found.smallest_p == 1 / 51
    assert found == drawn(selected, heads) and found != drawn(selected, heads, seed=1)


def test_where_few_are_left_sets_may_hold_named_heads_but_never_be_the_named_set() -> None:
    selected = [(0, 0), (1, 2), (1, 4)]
    found = drawn(selected, 5)
    # without the named heads 4 x 3 sets are left; with them 5 x 10, less the named one
    assert (found.distinct, found.overlap, found.exact, len(found.sets)) == (49, True, True, 49)
    assert tuple(selected) not in found.sets and len(set(found.sets)) == 49
    assert found.smallest_p == 1 / 50
    some = drawn(selected, 5, count=20)
    assert len(some.sets) == 20 and some.overlap and not some.exact
    apart = drawn(selected, 5, count=12)
    assert not apart.overlap and apart.exact and len(apart.sets) == 12


def test_a_layer_whose_heads_are_all_named_leaves_one_set() -> None:
    found = drawn([(1, 0), (1, 1)], 2)
    assert found.sets == () and found.distinct == 0 and found.smallest_p == 1.0


def test_the_trials_are_the_set_its_heads_others_and_random_sets() -> None:
    selected = [(1, 2), (0, 4), (1, 0)]
    found = drawn(selected, 6)
    trials = trials_of(selected, 6, 3, found, 0)
    kinds = [trial.kind for trial in trials]
    assert kinds == ["selected"] + ["single"] * 3 + ["other"] * 6 + ["random"] * 50
    assert trials[0].heads == ((0, 4), (1, 0), (1, 2))
    assert [trial.heads for trial in trials[1:4]] == [((1, 2),), ((0, 4),), ((1, 0),)]
    others = [trial.heads[0] for trial in trials[4:10]]
    assert sorted(layer for layer, _ in others) == [0, 0, 0, 1, 1, 1]
    assert not set(others) & set(selected) and len(set(others)) == 6
    assert len({(trial.kind, trial.number) for trial in trials}) == len(trials)
    one = trials_of([(1, 2)], 6, 3, drawn([(1, 2)], 6), 0)
    assert {trial.kind for trial in one} == {"selected", "random"}


def test_of_a_layer_no_more_than_half_is_silenced() -> None:
    found = [(2, 4), (2, 0), (2, 1), (1, 3), (2, 2), (0, 0)]
    assert choose_heads(found, 5, 8) == [(2, 4), (2, 0), (1, 3), (0, 0)]
    assert choose_heads(found, 5, 3) == [(2, 4), (2, 0), (1, 3)]
    assert choose_heads(found, 64, 5) == found[:5]
    many = [(layer, head) for layer in (1, 2) for head in range(6)]
    chosen = choose_heads(many, 10, 8)
    assert chosen == [(layer, head) for layer in (1, 2) for head in range(4)]
    assert not drawn(chosen, 10).overlap  # as many heads stand beside them, in more than 50 ways
    assert choose_heads([(0, 0), (0, 1)], 1, 8) == [(0, 0)]
    assert choose_heads([], 5, 8) == []
