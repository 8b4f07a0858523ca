"""The items lost and gained, made by hand."""

import math

import pytest
from test_scores import answers

from anukul.config import TaskSettings
from anukul.evaluate.flips import POOLED, Shown, find_flips, shown_items
from anukul.evaluate.scores import Method, make_scores
from anukul.evaluate.whole_texts import Ranking
from anukul.items.load import LoadedTask, TaskItem
from anukul.records import Item

METHOD = Method(resamples=100, confidence=0.95, seed=0)


def test_lost_and_gained_with_their_texts_clearest_first() -> None:
    base = answers("base", "1100")
    adapted = answers("adapted", "0110")
    for item, right, prediction in zip(adapted, (-3.0, -1.0, -0.5, -2.0), (1, 0, 0, 1), strict=True):
        item.loglikelihoods, item.prediction = [right, -2.0], prediction
    texts = {("multiple_choice", "t", "eng_Latn", "0"): Shown("Sky is", ["blue", "green"])}
    lost, gained = find_flips([*base, *adapted], texts)
    assert (lost.direction, lost.item, lost.base, lost.adapted) == ("lost", "0", 1.0, 0.0)
    assert (lost.base_margin, lost.adapted_margin) == (1.0, -1.0)
    assert (lost.question, lost.choices, lost.gold) == ("Sky is", ["blue", "green"], 0)
    assert (lost.base_choice, lost.adapted_choice, lost.seed) == (0, 1, POOLED)
    assert (gained.direction, gained.item, gained.question, gained.choices) == ("gained", "2", "", [])
    assert abs(lost.adapted_margin - lost.base_margin) > abs(gained.adapted_margin - gained.base_margin)


def test_seeds_pooled_and_alone() -> None:
    items = []
    for seed, corrects in enumerate(("10", "10", "00")):
        items += answers("base", "00", seed=seed) + answers("adapted", corrects, seed=seed)
    found = [(flip.seed, flip.item, flip.direction, flip.adapted) for flip in find_flips(items, {})]
    assert found == [
        (POOLED, "0", "gained", pytest.approx(2 / 3)),
        (0, "0", "gained", 1.0),
        (1, "0", "gained", 1.0),
    ]


def test_length_normalized_flips_use_the_normalized_choice() -> None:
    (base,) = answers("base", "1", correct_norm=1.0, loglikelihoods=[-4.0, -4.5], byte_counts=[4, 4])
    (adapted,) = answers("adapted", "1", correct_norm=0.0, loglikelihoods=[-4.0, -4.5], byte_counts=[4, 9])
    (flip,) = find_flips([base, adapted], {})
    assert (flip.metric, flip.direction, flip.base_choice, flip.adapted_choice) == (
        "accuracy_norm", "lost", 0, 1,
    )  # fmt: skip
    assert (flip.base_margin, flip.adapted_margin) == pytest.approx((-1 + 4.5 / 4, -1 + 0.5))


def test_a_cloze_shows_its_only_log_likelihood() -> None:
    cloze = {"loglikelihoods": [-2.5], "byte_counts": [3], "prediction": -1}
    (flip,) = find_flips([*answers("base", "0", **cloze), *answers("adapted", "1", **cloze)], {})
    assert (flip.base_margin, flip.base_choice) == (-2.5, -1)


def test_bits_per_byte_have_no_flips_and_counts_agree_with_the_scores() -> None:
    items: list[Item] = answers("base", "110010110") + answers("adapted", "101010011")
    bits = [*answers("base", "0"), *answers("adapted", "0")]
    for item in bits:
        item.kind, item.correct, item.chance = "bits_per_byte", math.nan, math.nan
    (row,) = [r for r in make_scores([*items, *bits], METHOD).scores if r["metric"] == "accuracy"]
    flips = find_flips([*items, *bits], {})
    counts = [sum(flip.direction == word for flip in flips) for word in ("lost", "gained")]
    assert counts == [row["lost"], row["gained"]] == [2, 2]


def test_texts_of_every_shape() -> None:
    settings = TaskSettings(name="t", path="t.jsonl", language="eng_Latn")
    choice = TaskItem("1", ("Sky is",), ("blue", "green"), 0, "1", "")
    schema = TaskItem("2", ("Ann", "Bob"), ("left.",), 1, "2", "")
    pair = Ranking("agreement", "agreement", "npi_Deva", "target", "1", "1", "", "p", ("good", "bad"), 0)
    assert shown_items([LoadedTask(settings, (choice, schema), ())], [pair]) == {
        ("multiple_choice", "t", "eng_Latn", "1"): Shown("Sky is", ["blue", "green"]),
        ("multiple_choice", "t", "eng_Latn", "2"): Shown("left.", ["Ann", "Bob"]),
        ("agreement", "agreement", "npi_Deva", "1"): Shown("", ["good", "bad"]),
    }
