"""scores.json from items made by hand."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from anukul import stats
from anukul.evaluate.scores import Method, add_q, make_scores, more_families
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
    made = make_scores([*answers("base", "11110000"), *answers("adapted", "01111110")], METHOD)
    (score,) = made.scores
    assert made.retention == made.backward_transfer == made.seed_scores == made.seed_retention == []
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
    (score,) = make_scores([*answers("base", "1100"), *answers("adapted", "1100")], METHOD).scores
    assert score["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert score["p"] == 1.0


def test_a_model_that_gives_one_choice_to_all_is_named() -> None:
    golds = [number % 3 for number in range(24)]

    def given(model: str, choice: int | None) -> list[Item]:
        rows = answers(model, "".join(str(int(gold == choice)) for gold in golds))
        chosen = [gold if choice is None else choice for gold in golds]
        return [replace(row, gold=g, prediction=c) for row, g, c in zip(rows, golds, chosen, strict=True)]

    (score,) = make_scores([*given("base", 1), *given("adapted", None)], METHOD).scores
    assert score["one_answer"] == ["base"]
    (score,) = make_scores([*given("base", 1), *given("adapted", 2)], METHOD).scores
    assert score["one_answer"] == ["base", "adapted"]
    alike = [replace(row, gold=0) for row in [*given("base", 1), *given("adapted", 1)]]
    assert make_scores(alike, METHOD).scores[0]["one_answer"] == []


def test_shots_increases_and_retention() -> None:
    items = [
        *answers("base", "1000"),
        *answers("adapted", "0000"),
        *answers("base", "1100", shots=2),
        *answers("adapted", "1110", shots=2),
    ]
    made = make_scores(items, METHOD)
    scores, (kept,) = made.scores, made.retention
    assert [(score["shots"], score["percent_increase"]) for score in scores] == [
        (0, None),
        (2, {"base": 100.0, "adapted": None}),
    ]
    # (.75 - 0) - (.5 - .25) = .5, over the .5 that chance leaves
    assert kept["difference_in_differences"]["value"] == pytest.approx(1.0)
    assert (kept["k"], kept["task"], kept["n"], kept["clusters"]) == (2, "t", 4, 4)
    gains = stats.bootstrap_ratios([2.0, 0.0, 2.0, 0.0], np.ones(4), 0, 400)[:, 0]
    assert kept["p"] == kept["q"] == pytest.approx(stats.bootstrap_p(gains, 4))
    assert json.dumps(made.as_json(), allow_nan=False)


def test_without_0_shots_there_is_no_retention() -> None:
    items = [*answers("base", "10", shots=1), *answers("adapted", "11", shots=1)]
    made = make_scores(items, METHOD)
    assert made.retention == []
    assert made.scores[0]["percent_increase"] is None


def test_splits_and_phenomena_are_scored_apart_and_together() -> None:
    items = []
    for model, corrects in (("base", "1100"), ("adapted", "1001")):
        made = answers(model, corrects, kind="agreement")
        for index, (split, phenomenon) in enumerate([("x", "p"), ("x", "q"), ("y", "p"), ("y", "q")]):
            items.append(replace(made[index], split=split, phenomenon=phenomenon))
    scores = make_scores(items, METHOD).scores
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
    made = make_scores(items, METHOD)
    (score,) = made.scores
    assert (score["n"], score["gained"], score["lost"]) == (4, 3, 0)
    assert score["adapted"]["value"] == pytest.approx(5 / 12)
    assert score["p"] == pytest.approx(stats.mcnemar(0, 3))
    alone = [(row["seed"], row["adapted"]["value"], row["gained"], row["q"]) for row in made.seed_scores]
    assert alone == [(0, 0.5, 2, None), (1, 0.5, 2, None), (2, 0.25, 1, None)]
    assert made.seed_scores[0]["p"] == pytest.approx(stats.mcnemar(0, 2))


def test_clusters_widen_and_weaken() -> None:
    base, adapted = answers("base", "0" * 12), answers("adapted", "1" * 6 + "0" * 6)
    (plain,) = make_scores([*base, *adapted], METHOD).scores
    grouped = [replace(item, cluster=str(int(item.item) // 6)) for item in (*base, *adapted)]
    (clustered,) = make_scores(grouped, METHOD).scores
    assert plain["p"] == pytest.approx(stats.mcnemar(0, 6))
    assert clustered["p"] == 1.0
    assert clustered["difference"]["high"] > plain["difference"]["high"]
    assert clustered["gained"] == plain["gained"] == 6
    assert (plain["n"], plain["clusters"], clustered["n"], clustered["clusters"]) == (12, 12, 12, 2)


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
    made = make_scores(items, METHOD)
    (score,) = made.scores
    weights = (10 * 0 + 30 * 0.01 + 50 * 0.02 + 70 * 0.03) / 160
    assert score["base"]["value"] == pytest.approx(2 + weights)
    assert score["difference"]["value"] == pytest.approx(-1.0)
    assert score["difference"]["low"] == pytest.approx(-1.0)
    assert (score["chance"], score["lost"], score["gained"]) == (None, None, None)
    assert score["p"] == pytest.approx(stats.bootstrap_p(np.full(400, -1.0), 4))
    assert made.retention == made.backward_transfer == []


def test_norm_is_scored_only_where_every_item_has_it() -> None:
    items = [*answers("base", "10", correct_norm=1.0), *answers("adapted", "10", correct_norm=0.0)]
    scores = make_scores(items, METHOD).scores
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


def test_items_that_differ_between_shots_are_an_error() -> None:
    items = [*answers("base", "10"), *answers("adapted", "10")]
    later = [*answers("base", "101", shots=1), *answers("adapted", "101", shots=1)]
    with pytest.raises(ValueError, match="not those at 0 shots"):
        make_scores([*items, *later], METHOD)


def several_tasks() -> list[Item]:
    """Two forgetting tasks and a target task at 0 and 2 shots, three seeds; accuracies drop by .25 and by 0."""
    items = []
    for seed in range(3):
        for task, role, chance, adapted in (
            ("f", "forgetting", 0.5, "11000000"),
            ("g", "forgetting", 0.25, "11110000"),
            ("t", "target", 0.25, "11111111"),
        ):
            for shots in (0, 2):
                more = {"task": task, "role": role, "chance": chance, "shots": shots, "seed": seed}
                items += answers("base", "11110000", **more) + answers("adapted", adapted, **more)
    return items


def test_backward_transfer_is_the_mean_over_forgetting_tasks() -> None:
    made = make_scores(several_tasks(), METHOD)
    rows = {(row["k"], row["chance_corrected"]): row for row in made.backward_transfer}
    assert list(rows) == [(0, False), (0, True), (2, False), (2, True)]
    assert rows[0, False]["transfer"]["value"] == pytest.approx(-0.25 / 2)
    assert rows[0, True]["transfer"]["value"] == pytest.approx(-0.25 / 0.5 / 2)
    assert rows[0, False]["tasks"] == ["f (eng_Latn)", "g (eng_Latn)"]
    assert rows[0, False]["n"] == 16
    low, high = rows[0, False]["transfer"]["low"], rows[0, False]["transfer"]["high"]
    # two of eight items of one task lost, none of the other: Student's t with 7 degrees of freedom
    assert (low + high) / 2 == pytest.approx(-0.125)
    assert (high - low) / 2 == pytest.approx(2.365 * (0.2143 / 8) ** 0.5 / 2, rel=0.1)


def test_each_family_is_corrected_by_itself_and_seeds_are_not_counted_twice() -> None:
    made = make_scores(several_tasks(), METHOD)
    report = made.as_json()
    assert list(report) == ["scores", "retention", "backward_transfer", "by_seed", "families"]
    sizes = {name: family["comparisons"] for name, family in report["families"].items()}
    assert sizes == {"scores": 6, "retention": 3, "backward_transfer": 4}
    for name in sizes:
        p = [row["p"] for row in report[name]]
        assert [row["q"] for row in report[name]] == pytest.approx(stats.benjamini_hochberg(p))
    assert len(made.seed_scores) == 3 * 6 and len(made.seed_retention) == 3 * 3
    assert all(row["q"] is None for row in [*made.seed_scores, *made.seed_retention])
    assert {row["seed"] for row in made.seed_scores} == {0, 1, 2}
    one = [item for item in several_tasks() if item.seed == 1]
    alone = [{**row, "seed": 1, "q": None} for row in make_scores(one, METHOD).scores]
    assert [row for row in made.seed_scores if row["seed"] == 1] == alone
    gains = {row["percent_increase"]["base"] for row in made.seed_scores if row["shots"] == 2}
    assert gains == {0.0}


def test_the_tables_beside_the_scores_have_families_too() -> None:
    tested, untested = {"p": 0.03, "q": None}, {"p": None, "q": None}
    rows: list[dict[str, Any]] = [dict(tested), dict(untested), {"p": 0.01, "q": None}]
    add_q(rows)
    assert [row["q"] for row in rows] == [pytest.approx(0.03), None, pytest.approx(0.02)]
    report: dict[str, Any] = {
        "knowledge": {"aspects": [tested] * 5, "kept_facts": rows},
        "generation": {"rows": [tested] * 4, "judge": None},
    }
    found = more_families(report)
    assert {name: family["comparisons"] for name, family in found.items()} == {
        "knowledge": 5,
        "kept_facts": 2,
        "generation": 4,
    }
    report["generation"]["judge"] = {"rows": [tested]}
    every = more_families({**report, "translation": [tested] * 2})
    assert every.keys() - found.keys() == {"judge", "translation"}
    assert all(family["rows"] and "`" not in family["rows"] for family in found.values())
    assert more_families({"scores": [tested]}) == {}


def test_seed_rows_are_whole_tasks_only() -> None:
    items = []
    for seed in (0, 1):
        for model in ("base", "adapted"):
            made = answers(model, "1100", kind="agreement", seed=seed)
            items += [replace(item, phenomenon="pq"[int(item.item) % 2]) for item in made]
    made_scores = make_scores(items, METHOD)
    assert {row["phenomenon"] for row in made_scores.scores} == {"all", "p", "q"}
    assert {row["phenomenon"] for row in made_scores.seed_scores} == {"all"}
