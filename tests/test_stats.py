"""Statistics against scipy, statsmodels and closed forms; how often they err is in test_calibration.py."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as scipy_stats
from statsmodels.stats import contingency_tables, multitest, proportion

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


def test_mcnemar_of_clusters_counts_each_cluster_once() -> None:
    changes, clusters = [1, 1, 1, -1, 0, 1, -1, 1], ["a", "a", "b", "c", "c", "d", "d", "e"]
    assert stats.mcnemar_clustered(changes, clusters) == stats.mcnemar(1, 3)
    assert stats.mcnemar_clustered(changes, range(8)) == stats.mcnemar(2, 5)
    thirds = [1 / 3, 1 / 3, -2 / 3, 0.1 + 0.2, -0.3]  # cancel but for rounding
    assert stats.mcnemar_clustered(thirds, ["a", "a", "a", "b", "b"]) == 1.0


def test_mcnemar_equals_statsmodels() -> None:
    draw = np.random.default_rng(12)
    for _ in range(20):
        base, adapted = draw.uniform(size=(2, 80)) < draw.uniform(0.2, 0.8, (2, 1))
        table = [[int((left & right).sum()) for right in (adapted, ~adapted)] for left in (base, ~base)]
        wanted = contingency_tables.mcnemar(table, exact=True).pvalue
        assert stats.mcnemar(table[0][1], table[1][0]) == pytest.approx(wanted)


def test_benjamini_hochberg_equals_scipy_and_statsmodels() -> None:
    draw = np.random.default_rng(8)
    for size in (1, 2, 17, 100):
        p = draw.uniform(size=size) ** 2
        found = stats.benjamini_hochberg(p.tolist())
        assert found == pytest.approx(scipy_stats.false_discovery_control(p))
        assert found == pytest.approx(multitest.multipletests(p, method="fdr_bh")[1])
    assert stats.benjamini_hochberg([]) == []
    assert stats.benjamini_hochberg([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])


def test_wilson_equals_scipy_and_statsmodels() -> None:
    for successes, n in ((0, 10), (10, 10), (3, 7), (81, 263), (50, 100)):
        for confidence in (0.9, 0.95):
            found = stats.wilson(successes, n, confidence)
            wanted = scipy_stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
            assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high), abs=1e-12)
            other = proportion.proportion_confint(successes, n, 1 - confidence, method="wilson")
            assert (found.low, found.high) == pytest.approx(other, abs=1e-12)
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


def correlated_answers(draw: np.random.Generator, clusters: int, size: int) -> np.ndarray:
    """Answers `[base_0, base_k, adapted_0, adapted_k][items]`, items of a cluster alike in how hard they are."""
    hard = np.repeat(draw.normal(0, 0.8, clusters), size)
    gains = np.repeat(draw.normal(0, 0.8, (3, clusters)), size, axis=1)
    levels = np.stack([hard, hard + 0.2 + gains[0], hard + 0.3 + gains[1], hard + 0.8 + gains[2]])
    return (draw.normal(size=levels.shape) < levels).astype(float)


def test_difference_in_differences_equals_a_regression_with_clustered_errors() -> None:
    clusters, size, chance = 120, 5, 0.25
    answers = correlated_answers(np.random.default_rng(13), clusters, size)
    groups = np.repeat(np.arange(clusters), size)
    found = stats.difference_in_differences(
        *answers, np.full(answers.shape[1], chance), seed=0, resamples=6000, clusters=groups.tolist()
    )
    y = stats.correct_for_chance(answers, chance).ravel()
    shots, adapted = np.repeat([0, 1, 0, 1], len(groups)), np.repeat([0, 0, 1, 1], len(groups))
    design = np.stack([np.ones(len(y)), adapted, shots, adapted * shots], axis=1)
    fit = sm.OLS(y, design).fit(
        cov_type="cluster", cov_kwds={"groups": np.tile(groups, 4), "use_correction": False}
    )
    assert found.value == pytest.approx(fit.params[3])
    assert (found.low, found.high) == pytest.approx(fit.conf_int()[3], abs=0.15 * fit.bse[3])
    assert found.p == pytest.approx(fit.pvalues[3], abs=0.02)


def test_clustered_difference_equals_a_regression_with_clustered_errors() -> None:
    clusters, size = 150, 4
    base, _, adapted, _ = correlated_answers(np.random.default_rng(14), clusters, size)
    groups = np.repeat(np.arange(clusters), size)
    found = stats.mean_difference(base, adapted, seed=0, resamples=6000, clusters=groups.tolist())
    fit = sm.OLS(adapted - base, np.ones(len(base))).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    assert found.value == pytest.approx(fit.params[0])
    assert (found.low, found.high) == pytest.approx(fit.conf_int()[0], abs=0.15 * fit.bse[0])


def test_correction_for_chance_by_hand() -> None:
    assert stats.correct_for_chance([0.25, 1, 0, 0.5], 0.25) == pytest.approx([0, 1, -1 / 3, 1 / 3])
    assert stats.correct_for_chance([1, 0], [0.0, 0.5]) == pytest.approx([1, -1])


def test_backward_transfer_by_hand_and_by_the_stratified_standard_error() -> None:
    draw = np.random.default_rng(15)
    sizes, means = (60, 400, 150), (-0.2, 0.0, 0.1)
    changes = [draw.normal(mean, 1, size) for mean, size in zip(means, sizes, strict=True)]
    found = stats.backward_transfer([stats.TaskChanges(c) for c in changes], seed=0, resamples=8000)
    # every task counts the same, the small one too
    assert found.value == pytest.approx(np.mean([c.mean() for c in changes]))
    error = np.sqrt(sum(c.var() / len(c) for c in changes)) / len(changes)
    half = scipy_stats.norm.ppf(0.975) * error
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.1 * half)
    normal = 2 * scipy_stats.norm.sf(abs(found.value) / error)
    assert found.p == pytest.approx(normal, abs=0.03)
    with pytest.raises(ValueError, match="no tasks"):
        stats.backward_transfer([], seed=0)


def test_backward_transfer_resamples_tasks_apart_and_clusters_whole() -> None:
    values = np.random.default_rng(16).normal(size=200)
    one = stats.backward_transfer([stats.TaskChanges(values)], seed=0, resamples=4000)
    both = stats.backward_transfer([stats.TaskChanges(values)] * 2, seed=0, resamples=4000)
    # two independent tasks of equal spread: the mean's error falls by the root of two
    assert (one.high - one.low) / (both.high - both.low) == pytest.approx(np.sqrt(2), rel=0.06)
    copies = stats.TaskChanges(np.repeat(values, 3), np.repeat(np.arange(200), 3).tolist())
    clustered = stats.backward_transfer([copies], seed=0, resamples=4000)
    assert (clustered.low, clustered.high, clustered.p) == pytest.approx((one.low, one.high, one.p))


def test_bootstrap_p_is_that_of_the_paired_t_test() -> None:
    draw = np.random.default_rng(17)
    for shift in (0.0, 0.05, 0.1, 0.15):
        base = draw.normal(size=400)
        adapted = base + draw.normal(shift, 1, 400)
        drawn = stats.bootstrap_ratios(adapted - base, np.ones(400), 0, 8000)
        wanted = scipy_stats.ttest_rel(adapted, base).pvalue
        assert stats.bootstrap_p(drawn) == pytest.approx(wanted, abs=0.02)


def test_interval_of_few_widens_to_student_s_t() -> None:
    # normal resamples of a mean: the ends must be those of the one-sample t interval, s / sqrt(n) its error
    values = np.random.default_rng(18).normal(0.4, 1, 12)
    error = values.std() / np.sqrt(12)  # what a bootstrap sees
    drawn = values.mean() + error * scipy_stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    found = stats.interval(values.mean(), drawn, 0.95, 12)
    wanted = scipy_stats.ttest_1samp(values, 0.0)
    ends = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.002)
    assert stats.bootstrap_p(drawn, 12) == pytest.approx(wanted.pvalue, rel=0.01)
    assert stats.interval(0.0, drawn, 0.95, 1) == stats.Interval(0.0, drawn.min(), drawn.max())
    assert stats.bootstrap_p(np.ones(999), 1) == 1.0


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
