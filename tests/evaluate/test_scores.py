"""scores.json from items made by hand."""

import json
import math
from dataclasses import replace

import pytest

from anukul import stats
from anukul.evaluate.scores import Method, make_scores
from anukul.records import Item

METHOD = Method(resamples=400, confidence=0.95, seed=0)
ITEM = Item(
    model="base",
    kind="multiple_choice",
    task="t",
    language="eng_Latn",
    role="target",
    shots=0,
    seed=0,
    item="1",
    cluster="1",
    split="",
    phenomenon="",
    gold=0,
    prediction=0,
    correct=1.0,
    correct_norm=math.nan,
    chance=0.5,
    loglikelihoods=[-1.0, -2.0],
    byte_counts=[4, 4],
)


def answers(model: str, corrects: str, **fields: object) -> list[Item]:
    made = []
    for number, mark in enumerate(corrects):
        item = replace(ITEM, model=model, item=str(number), cluster=str(number), correct=float(mark))
        made.append(replace(item, **fields))  # type: ignore[arg-type]
    return made


def test_accuracy_with_the_paired_test() -> None:
    scores, retention = make_scores([*answers("base", "11110000"), *answers("adapted", "01111110")], METHOD)
    (score,) = scores
    assert retention == []
    assert (score["base"]["value"], score["adapted"]["value"], score["difference"]["value"]) == (
        0.5,
        0.75,
        0.25,
    )
    assert (score["lost"], score["gained"], score["n"], score["chance"]) == (1, 3, 8, 0.5)
    assert score["p"] == score["q"] == pytest.approx(stats.mcnemar(1, 3))
    wilson = stats.wilson(4, 8)
    assert (score["base"]["low"], score["base"]["high"]) == (wilson.low, wilson.high)
    assert score["difference"]["low"] < 0.25 < score["difference"]["high"]
    assert (score["split"], score["phenomenon"], score["percent_increase"]) == ("all", "", None)


def test_equal_models_differ_by_exactly_nothing() -> None:
    (score,), _ = make_scores([*answers("base", "1100"), *answers("adapted", "1100")], METHOD)
    assert score["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert score["p"] == 1.0


def test_shots_increases_and_retention() -> None:
    items = [
        *answers("base", "1000"),
        *answers("adapted", "0000"),
        *answers("base", "1100", shots=2),
        *answers("adapted", "1110", shots=2),
    ]
    scores, (kept,) = make_scores(items, METHOD)
    assert [(score["shots"], score["percent_increase"]) for score in scores] == [
        (0, None),
        (2, {"base": 100.0, "adapted": None}),
    ]
    # (.75 - 0) - (.5 - .25) = .5, over the .5 that chance leaves
    assert kept["difference_in_differences"]["value"] == pytest.approx(1.0)
    assert (kept["k"], kept["task"], kept["n"]) == (2, "t", 4)
    assert json.dumps(scores, allow_nan=False)


def test_without_0_shots_there_is_no_retention() -> None:
    items = [*answers("base", "10", shots=1), *answers("adapted", "11", shots=1)]
    scores, retention = make_scores(items, METHOD)
    assert retention == []
    assert scores[0]["percent_increase"] is None


def test_splits_and_phenomena_are_scored_apart_and_together() -> None:
    items = []
    for model, corrects in (("base", "1100"), ("adapted", "1001")):
        made = answers(model, corrects, kind="agreement")
        for index, (split, phenomenon) in enumerate([("x", "p"), ("x", "q"), ("y", "p"), ("y", "q")]):
            items.append(replace(made[index], split=split, phenomenon=phenomenon))
    scores, _ = make_scores(items, METHOD)
    found = {
        (s["split"], s["phenomenon"]): (s["n"], s["base"]["value"], s["adapted"]["value"]) for s in scores
    }
    assert found == {
        ("all", "all"): (4, 0.5, 0.5),
        ("x", "all"): (2, 1.0, 0.5),
        ("y", "all"): (2, 0.0, 0.5),
        ("all", "p"): (2, 0.5, 0.5),
        ("all", "q"): (2, 0.5, 0.5),
    }


def test_seeds_are_averaged_and_never_counted_as_items() -> None:
    items = []
    for seed, corrects in enumerate(("1100", "1010", "1000")):
        items += answers("base", "0000", seed=seed) + answers("adapted", corrects, seed=seed)
    (score,), _ = make_scores(items, METHOD)
    assert (score["n"], score["gained"], score["lost"]) == (4, 3, 0)
    assert score["adapted"]["value"] == pytest.approx(5 / 12)
    assert score["p"] == pytest.approx(stats.mcnemar(0, 3))


def test_clusters_widen_and_weaken() -> None:
    base, adapted = answers("base", "0" * 12), answers("adapted", "1" * 6 + "0" * 6)
    (plain,), _ = make_scores([*base, *adapted], METHOD)
    grouped = [replace(item, cluster=str(int(item.item) // 6)) for item in (*base, *adapted)]
    (clustered,), _ = make_scores(grouped, METHOD)
    assert plain["p"] == pytest.approx(stats.mcnemar(0, 6))
    assert clustered["p"] == 1.0
    assert clustered["difference"]["high"] > plain["difference"]["high"]
    assert clustered["gained"] == plain["gained"] == 6


def test_bits_per_byte_is_a_ratio_of_sums() -> None:
    items = []
    for model, factor in (("base", 2.0), ("adapted", 1.0)):
        for number, size in enumerate((10, 30, 50, 70)):
            nats = -(factor + 0.01 * number) * size * math.log(2)
            items.append(
                replace(
                    ITEM,
                    model=model,
                    kind="bits_per_byte",
                    item=str(number),
                    cluster=str(number),
                    correct=math.nan,
                    chance=math.nan,
                    loglikelihoods=[nats],
                    byte_counts=[size],
                )
            )
    (score,), retention = make_scores(items, METHOD)
    weights = (10 * 0 + 30 * 0.01 + 50 * 0.02 + 70 * 0.03) / 160
    assert score["base"]["value"] == pytest.approx(2 + weights)
    assert score["difference"]["value"] == pytest.approx(-1.0)
    assert score["difference"]["low"] == pytest.approx(-1.0)
    assert (score["chance"], score["lost"], score["gained"]) == (None, None, None)
    assert score["p"] == pytest.approx(2 / 401)
    assert retention == []


def test_norm_is_scored_only_where_every_item_has_it() -> None:
    items = [*answers("base", "10", correct_norm=1.0), *answers("adapted", "10", correct_norm=0.0)]
    scores, _ = make_scores(items, METHOD)
    assert [(score["metric"], score["difference"]["value"]) for score in scores] == [
        ("accuracy", 0.0),
        ("accuracy_norm", -1.0),
    ]
    assert [score["q"] for score in scores] == pytest.approx(
        stats.benjamini_hochberg([score["p"] for score in scores])
    )


def test_unpaired_items_are_an_error() -> None:
    with pytest.raises(ValueError, match="same items"):
        make_scores([*answers("base", "10"), *answers("adapted", "1")], METHOD)
