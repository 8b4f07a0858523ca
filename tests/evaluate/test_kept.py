"""Facts that the base ranked right: the luck among them, and the test for loss, against closed forms and simulation."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from anukul import stats
from anukul.evaluate.knowledge.kept import Answers, excess_loss, kept_row, kept_rows, lucky_share
from anukul.evaluate.scores import Method
from anukul.records import Item

METHOD = Method(499, 0.95, 0)
RUNS = 600
ALARM = 0.001


def answers(base: str, adapted: str, chance: float = 0.25) -> Answers:
    sides = [np.array([float(one) for one in side]) for side in (base, adapted)]
    return Answers(sides[0], sides[1], np.full(len(base), chance))


def test_counts_and_shares_of_answers_made_by_hand() -> None:
    # 24 right of 36; 6 lost; 3 of the 12 wrong ones gained
    row = kept_row(answers("1" * 24 + "0" * 12, "1" * 18 + "0" * 6 + "1" * 3 + "0" * 9), METHOD)
    assert (row["n"], row["right"], row["kept"], row["wrong"], row["gained"]) == (36, 24, 18, 12, 3)
    assert row["kept_share"]["value"] == 0.75 and row["gained_share"]["value"] == 0.25
    found = stats.wilson(18, 24, 0.95)
    assert (row["kept_share"]["low"], row["kept_share"]["high"]) == (found.low, found.high)
    # three wrong guesses tell of one lucky one: four lucky hits, of which three are lost when they are drawn anew
    assert row["lucky_share"]["value"] == pytest.approx(4 / 24)
    assert row["expected_share"] == pytest.approx(21 / 24)
    assert row["difference"]["value"] == pytest.approx(18 / 24 - 21 / 24)
    assert row["gained_by_guessing"] == 0.25 and row["untested"] == ""


@pytest.mark.parametrize(
    ("right", "n", "chance"), [(30, 40, 0.25), (60, 100, 0.5), (22, 40, 0.2), (40, 40, 0.25)]
)
def test_the_lucky_share_is_the_closed_form_of_the_accuracy(right: int, n: int, chance: float) -> None:
    found = lucky_share(answers("1" * right + "0" * (n - right), "1" * n, chance), 0.95)
    assert found is not None
    ends = stats.wilson(right, n, 0.95)
    for share, accuracy in ((found.value, right / n), (found.low, ends.high), (found.high, ends.low)):
        known = float(stats.correct_for_chance(accuracy, chance))
        assert share == pytest.approx(min(1.0, (1 - known) * chance / accuracy))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_choices_of_several_sizes_count_each_by_its_own_chance() -> None:
    made = Answers(np.array([1.0] * 10 + [0, 0]), np.ones(12), np.array([0.25] * 6 + [0.5] * 4 + [0.25, 0.5]))
    found = lucky_share(made, 0.95)
    assert found is not None and found.value == pytest.approx((1 / 3 + 1) / 10)
    assert excess_loss(made, METHOD).value == pytest.approx((0.25 + 0.5) / 10)


def test_what_cannot_be_tested_says_why() -> None:
    guessing = kept_row(answers("1" * 12 + "0" * 28, "1" * 40), METHOD)
    assert guessing["untested"] == "guessing" and guessing["kept_share"]["value"] == 1.0
    few = kept_row(answers("1" * 8 + "0" * 2, "1" * 10), METHOD)
    assert few["untested"] == "few"
    none = kept_row(answers("0" * 30, "1" * 30), METHOD)
    assert none["untested"] == "guessing" and none["kept_share"] == none["lucky_share"] == none["difference"]
    for row in (guessing, few, none):
        assert row["p"] is None and row["expected_share"] is None and row["difference"]["value"] is None
    every = kept_row(answers("1" * 30, "0" * 30), METHOD)
    assert every["gained_share"]["value"] is None and every["gained_by_guessing"] is None
    assert every["difference"] == {"value": -1.0, "low": -1.0, "high": -1.0} and every["p"] < 0.01


def test_a_model_against_itself_loses_nothing() -> None:
    row = kept_row(answers("1" * 30 + "0" * 30, "1" * 30 + "0" * 30), METHOD)
    assert row["kept_share"]["value"] == 1.0 and row["gained"] == 0
    assert row["difference"]["value"] == pytest.approx(30 * 0.25 / 30) and row["p"] == 1.0


@cache
def simulated(known: float, still: float, chance: float, n: int = 150) -> dict[str, list[float]]:
    """Rows of models that know a fact or guess evenly, the adapted one forgetting each known fact with 1 - still."""
    draw = np.random.default_rng(7)
    seen: dict[str, list[float]] = {"lucky": [], "true": [], "loss": [], "covered": [], "kept": []}
    accuracy = known + (1 - known) * chance
    excess = -(1 - still) * known * (1 - chance) / accuracy
    for run in range(RUNS):
        knew = draw.uniform(size=n) < known
        knows = knew & (draw.uniform(size=n) < still)
        base, adapted = (
            (side | (draw.uniform(size=n) < chance)).astype(np.float64) for side in (knew, knows)
        )
        row = kept_row(Answers(base, adapted, np.full(n, chance)), Method(299, 0.95, run))
        seen["lucky"].append(row["lucky_share"]["value"])
        seen["true"].append(float((base * ~knew).sum() / base.sum()))
        seen["kept"].append(row["kept_share"]["value"])
        ends = row["difference"]
        tested = row["p"] is not None
        seen["loss"].append(float(tested and ends["high"] < 0))
        seen["covered"].append(float(tested and ends["low"] <= excess <= ends["high"]))
        assert not tested or (row["p"] < 0.05) == (ends["high"] < 0) or abs(row["p"] - 0.05) < 0.01
    return seen


@pytest.mark.parametrize(("known", "chance"), [(0.5, 0.25), (0.7, 0.5), (0.4, 0.2)])
def test_luck_alone_is_told_from_forgetting(known: float, chance: float) -> None:
    seen = simulated(known, 1.0, chance)
    accuracy = known + (1 - known) * chance
    # regression to the mean: fewer than all are kept though nothing was forgotten, as many as the closed form says
    share = (1 - known) * chance / accuracy
    assert np.mean(seen["kept"]) == pytest.approx(1 - share * (1 - chance), abs=0.01)
    assert np.mean(seen["lucky"]) == pytest.approx(np.mean(seen["true"]), abs=0.01)
    assert np.mean(seen["true"]) == pytest.approx(share, abs=0.01)
    # a loss is claimed at half the level, since the interval has two sides
    assert binomtest(int(sum(seen["loss"])), RUNS, 0.025, alternative="greater").pvalue > ALARM
    assert binomtest(int(sum(seen["covered"])), RUNS, 0.95).pvalue > ALARM


def power(known: float, still: float, chance: float, n: int = 150) -> float:
    """The rate at which a normal interval finds the planted loss, from the outcomes of one fact written out."""
    right = known + (1 - known) * chance
    lost = known * (1 - still) * (1 - chance) + (1 - known) * chance * (1 - chance)
    excess = -(1 - still) * known * (1 - chance) / right
    outcomes = ((lost, -1 - excess), (right - lost, -excess), (1 - right, chance))
    assert sum(share * value for share, value in outcomes) == pytest.approx(0)
    error = sum(share * value**2 for share, value in outcomes) ** 0.5 / n**0.5 / right
    return float(norm.cdf(-excess / error - norm.ppf(0.975)))


def test_forgetting_is_found_at_the_size_and_power_of_theory() -> None:
    seen = simulated(0.5, 0.7, 0.25)
    assert np.mean(seen["loss"]) == pytest.approx(power(0.5, 0.7, 0.25), abs=0.04)
    assert binomtest(int(sum(seen["covered"])), RUNS, 0.95).pvalue > ALARM


def test_a_base_that_guesses_is_not_said_to_forget() -> None:
    seen = simulated(0.0, 1.0, 0.25)
    assert np.mean(seen["lucky"]) > 0.9
    assert binomtest(int(sum(seen["loss"])), RUNS, 0.025, alternative="greater").pvalue > ALARM


def test_rows_by_form_language_and_what_nothing_refreshed() -> None:
    stated_in = {f"{n}:{code}": (("ne",), ("en",), ())[n % 3] for n in range(60) for code in ("en", "ne")}
    items = [
        Item(model, "knowledge", task, code, "target", 0, 0, f"{n}:{code}", str(n), "", "", 0, 0, right, right, 0.25,
             [0.0], [1])
        for model in ("base", "adapted")
        for task in ("knowledge", "knowledge-cloze")
        for n in range(60)
        for code in ("en", "ne")
        for right in [float(code == "en" and (model == "base" or n % 3 != 1))]
    ]  # fmt: skip
    forms = {"knowledge": "ranking", "knowledge-cloze": "cloze"}
    rows = kept_rows(items, forms, stated_in, "ne", METHOD)
    assert [(row["language"], row["form"], row["facts"], row["n"]) for row in rows] == [
        (code, form, *part)
        for code in ("en", "ne")
        for form in ("ranking", "cloze")
        for part in (("all", 60), ("not_in_target_texts", 40))
    ]
    assert [row["kept"] for row in rows[:4]] == [40, 20, 40, 20]
    tested = [row for row in rows if row["p"] is not None]
    assert len(tested) == 4 and all(row["language"] == "en" for row in tested)
    assert [row["q"] for row in tested] == pytest.approx(
        stats.benjamini_hochberg([row["p"] for row in tested])
    )
    assert [row["q"] for row in rows[4:]] == [None] * 4
    # where the file does not say what is stated, or one model lacks a fact
    assert {row["facts"] for row in kept_rows(items, forms, {}, "ne", METHOD)} == {"all"}
    with pytest.raises(ValueError, match="not asked the same facts"):
        kept_rows(items[1:], forms, stated_in, "ne", METHOD)
