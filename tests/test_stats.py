"""Statistics against scipy, closed forms and simulation."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from anukul import stats


def test_mean_difference_equals_scipy_bootstrap() -> None:
    draw = np.random.default_rng(1)
    base, adapted = draw.normal(0, 1, 300), draw.normal(0.3, 1, 300)
    found = stats.mean_difference(base, adapted, seed=0, resamples=9000)
    wanted = scipy_stats.bootstrap(
        (adapted - base,), np.mean, n_resamples=9000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.value == pytest.approx((adapted - base).mean())
    assert found.low == pytest.approx(wanted.low, abs=0.012)
    assert found.high == pytest.approx(wanted.high, abs=0.012)


def test_normal_theory_and_confidence() -> None:
    values = np.random.default_rng(3).normal(0, 2, 400)
    error = values.std() / np.sqrt(len(values))
    for confidence in (0.8, 0.95, 0.99):
        found = stats.mean_difference(np.zeros(400), values, seed=1, resamples=8000, confidence=confidence)
        half = scipy_stats.norm.ppf(0.5 + confidence / 2) * error
        assert found.high - found.low == pytest.approx(2 * half, rel=0.06)


def test_same_seed_same_interval_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).normal(size=50)
    first = stats.mean_difference(np.zeros(50), values, seed=7)
    assert stats.mean_difference(np.zeros(50), values, seed=7) == first
    assert stats.mean_difference(np.zeros(50), values, seed=8) != first
    monkeypatch.setattr(stats, "CHUNK", 50 * 100)
    assert stats.mean_difference(np.zeros(50), values, seed=7) == first


def test_clusters_widen_the_interval_by_their_size() -> None:
    draw = np.random.default_rng(5)
    per_cluster = draw.normal(size=100)
    items = np.repeat(per_cluster, 4)
    clusters = np.repeat(np.arange(100), 4).tolist()
    alone = stats.mean_difference(np.zeros(400), items, seed=0, resamples=4000)
    clustered = stats.mean_difference(np.zeros(400), items, seed=0, resamples=4000, clusters=clusters)
    # Four copies of each value carry the information of one: the standard error doubles.
    assert (clustered.high - clustered.low) / (alone.high - alone.low) == pytest.approx(2.0, rel=0.08)
    single = stats.mean_difference(np.zeros(100), per_cluster, seed=0, resamples=4000)
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high))


def test_ratio_of_sums_follows_the_delta_method() -> None:
    draw = np.random.default_rng(6)
    size = draw.integers(20, 200, 500).astype(float)
    nats = size * 0.7 + draw.normal(0, 5, 500)
    drawn = stats.bootstrap_ratios(nats, size, seed=0, resamples=6000)[:, 0]
    ratio = nats.sum() / size.sum()
    error = np.sqrt(((nats - ratio * size) ** 2).sum()) / size.sum()
    assert drawn.mean() == pytest.approx(ratio, abs=error / 5)
    assert drawn.std() == pytest.approx(error, rel=0.05)


def test_columns_are_resampled_together() -> None:
    top = np.random.default_rng(7).normal(size=(40, 1))
    drawn = stats.bootstrap_ratios(np.hstack([top, top + 3]), np.ones(40), seed=0)
    assert drawn[:, 1] - drawn[:, 0] == pytest.approx(np.full(2000, 3.0))


def test_mcnemar_equals_the_binomial_sum() -> None:
    for lost, gained in ((0, 5), (3, 9), (10, 10), (1, 0), (40, 20)):
        tail = scipy_stats.binom.cdf(min(lost, gained), lost + gained, 0.5)
        assert stats.mcnemar(lost, gained) == pytest.approx(min(1.0, 2 * tail))
        assert stats.mcnemar(lost, gained) == pytest.approx(stats.mcnemar(gained, lost))
    assert stats.mcnemar(0, 0) == 1.0
    assert stats.mcnemar(0, 5) == pytest.approx(0.0625)


def test_benjamini_hochberg_equals_scipy() -> None:
    draw = np.random.default_rng(8)
    for size in (1, 2, 17, 100):
        p = draw.uniform(size=size) ** 2
        assert stats.benjamini_hochberg(p.tolist()) == pytest.approx(scipy_stats.false_discovery_control(p))
    assert stats.benjamini_hochberg([]) == []
    assert stats.benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_wilson_equals_scipy() -> None:
    for successes, n in ((0, 10), (10, 10), (3, 7), (81, 263), (50, 100)):
        for confidence in (0.9, 0.95):
            found = stats.wilson(successes, n, confidence)
            wanted = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
            assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
            assert found.low <= found.value <= found.high


def test_percent_increase() -> None:
    assert stats.percent_increase(0.4, 0.5) == pytest.approx(25.0)
    assert stats.percent_increase(0.5, 0.4) == pytest.approx(-20.0)
    assert stats.percent_increase(0.0, 0.4) is None


def test_difference_in_differences_by_hand() -> None:
    base_0, base_k = np.array([1, 0, 0, 1.0]), np.array([1, 1, 0, 1.0])  # .5 -> .75
    adapted_0, adapted_k = np.array([0, 0, 0, 1.0]), np.array([1, 1, 0, 1.0])  # .25 -> .75
    found = stats.difference_in_differences(base_0, base_k, adapted_0, adapted_k, np.full(4, 0.5), seed=0)
    assert found.value == pytest.approx((0.5 - 0.25) / (1 - 0.5))
    mixed = stats.difference_in_differences(
        base_0, base_k, adapted_0, adapted_k, np.array([0.5, 0.25, 0.25, 0.25]), seed=0
    )
    assert mixed.value == pytest.approx((1 / 0.5) / 4)
    with pytest.raises(ValueError, match="chance"):
        stats.difference_in_differences(base_0, base_k, adapted_0, adapted_k, np.ones(4), seed=0)


def test_bootstrap_p() -> None:
    assert stats.bootstrap_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert stats.bootstrap_p(np.concatenate([np.ones(500), -np.ones(499)])) == 1.0
    assert stats.bootstrap_p(np.concatenate([np.ones(990), -np.ones(9)])) == pytest.approx(2 * 10 / 1000)


def test_nothing_to_resample_is_an_error() -> None:
    with pytest.raises(ValueError, match="no items"):
        stats.bootstrap_ratios(np.zeros(0), np.zeros(0), seed=0)
    with pytest.raises(ValueError, match="clusters"):
        stats.bootstrap_ratios(np.zeros(3), np.ones(3), seed=0, clusters=["a"])
    with pytest.raises(ValueError, match="no trials"):
        stats.wilson(0, 0)


def test_calibration_when_nothing_differs() -> None:
    draw = np.random.default_rng(9)
    missed = rejected = rejected_bootstrap = 0
    worlds = 300
    for world in range(worlds):
        difficulty = draw.uniform(0.2, 0.8, 150)
        base, adapted = draw.uniform(size=(2, 150)) < difficulty
        found = stats.mean_difference(base, adapted, seed=world, resamples=300)
        missed += not found.low <= 0 <= found.high
        rejected += stats.mcnemar(int((base & ~adapted).sum()), int((~base & adapted).sum())) < 0.05
        drawn = stats.bootstrap_ratios(adapted * 1.0 - base, np.ones(150), world, 300)
        rejected_bootstrap += stats.bootstrap_p(drawn) < 0.05
    assert 0.02 < missed / worlds < 0.09
    assert rejected / worlds < 0.06  # exact: at most the nominal rate
    assert rejected_bootstrap / worlds < 0.09
