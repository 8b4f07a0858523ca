"""Facts as full statements and as clozes, and what their answers show."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anukul.config import ModelSettings
from anukul.errors import UserError
from anukul.evaluate.knowledge.clozes import Cloze, score_clozes, shown_clozes
from anukul.evaluate.knowledge.facts import aspect_of, load_facts, summarize
from anukul.evaluate.scores import Method
from anukul.evaluate.whole_texts import score_rankings
from anukul.model.base import load_base
from anukul.records import Item
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer
from anukul.stats import benjamini_hochberg

ENGLISH, NEPALI = "eng_Latn", "npi_Deva"


def fact(name: str, stated: list[str] | None, first: bool = False) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": name,
        "subject": {ENGLISH: "Ram", NEPALI: "राम"},
        "object": {ENGLISH: "Pokhara", NEPALI: "पोखरा"},
        "distractors": [
            {ENGLISH: "Jumla", NEPALI: "जुम्ला"},
            {ENGLISH: "Dharan", NEPALI: "धरान"},
        ],
        "statement": {ENGLISH: "Ram lives in Pokhara.", NEPALI: "राम पोखरामा बस्छन्।"},
    }
    if first:
        row["statement"] = {ENGLISH: "Pokhara is where Ram lives.", NEPALI: "पोखरामा राम बस्छन्।"}
    return row if stated is None else {**row, "stated_in": stated}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_a_cloze_is_cut_at_the_object(tmp_path: Path) -> None:
    found = load_facts(write(tmp_path / "f.jsonl", [fact("a", [NEPALI]), fact("b", None, first=True)]))
    english, nepali, first, _ = found.clozes
    assert (english.prefix, english.choices) == ("Ram lives in ", ("Pokhara", "Jumla", "Dharan"))
    assert (nepali.prefix, nepali.choices) == ("राम ", ("पोखरा", "जुम्ला", "धरान"))
    assert first.prefix == "" and first.choices[1] == "Jumla is where Ram lives."
    assert found.object_first == 2
    assert found.stated_in == {"a:eng_Latn": (NEPALI,), "a:npi_Deva": (NEPALI,)}
    assert [cloze.id for cloze in found.clozes] == [ranking.id for ranking in found.rankings]
    with pytest.raises(UserError, match="line 1: 'stated_in' must be a list"):
        load_facts(write(tmp_path / "g.jsonl", [{**fact("a", []), "stated_in": "npi_Deva"}]))


def test_a_cloze_scores_the_objects_tokens_after_the_prefix(
    tmp_path: Path, tiny_settings: ModelSettings
) -> None:
    import torch

    found = load_facts(write(tmp_path / "f.jsonl", [fact("a", []), fact("b", None, first=True)]))
    loaded = load_base(tiny_settings)
    scorer = Scorer(loaded, 512)
    items = score_clozes(AnukulLM(scorer), found.clozes, "base")
    cloze, item = found.clozes[1], items[1]
    for choice, value in zip(cloze.choices, item.loglikelihoods, strict=True):
        head = loaded.tokenizer(cloze.prefix.rstrip())["input_ids"]
        ids = loaded.tokenizer(cloze.prefix + choice)["input_ids"]
        assert ids[: len(head)] == head
        with torch.no_grad():
            logs = loaded.model(torch.tensor([ids])).logits[0].log_softmax(-1)
        told = sum(float(logs[place - 1, ids[place]]) for place in range(len(head), len(ids)))
        assert value == pytest.approx(told, abs=1e-3)
    assert (item.kind, item.task, item.chance) == ("cloze", "knowledge-cloze", pytest.approx(1 / 3))
    assert item.byte_counts == [len(choice.encode()) for choice in cloze.choices]
    # without a beginning it is the ranking of full statements
    ranked = score_rankings(scorer, found.rankings, "base")
    assert items[2].loglikelihoods == pytest.approx(ranked[2].loglikelihoods, abs=1e-3)
    assert items[2].prediction == ranked[2].prediction
    same = Cloze("t", ENGLISH, "target", "1", "1", "", "Ram eats ", ("rice", "rice"), 0)
    tie = score_clozes(AnukulLM(scorer), [same], "base")[0]
    assert (tie.prediction, tie.correct, tie.correct_norm) == (-1, 0.0, 0.0)
    assert shown_clozes([same])["cloze", "t", ENGLISH, "1"].question == "Ram eats "


@pytest.mark.parametrize(
    ("stated", "asked", "aspect"),
    [
        ([NEPALI], NEPALI, "acquisition"),
        ([NEPALI], ENGLISH, "transfer"),
        ([ENGLISH], ENGLISH, "retention"),
        ([ENGLISH], NEPALI, "transfer"),
        ([ENGLISH, NEPALI], NEPALI, "both"),
        ([], NEPALI, "chance"),
    ],
)
def test_aspects(stated: list[str], asked: str, aspect: str) -> None:
    assert aspect_of(stated, asked, NEPALI, ENGLISH) == aspect


def items_of(stated_in: dict[str, tuple[str, ...]], right: dict[tuple[str, str], float]) -> list[Item]:
    """Items whose models answer right as said for (model, aspect)."""
    made = []
    for name, stated in stated_in.items():
        language = name.rpartition(":")[2]
        aspect = aspect_of(stated, language, NEPALI, ENGLISH)
        for model in ("base", "adapted"):
            for kind, task in (("knowledge", "knowledge"), ("cloze", "knowledge-cloze")):
                correct = right.get((model, aspect), 0.0)
                head = (model, kind, task, language, "target", 0, 0, name, name.partition(":")[0])
                made.append(Item(*head, "new", "", 0, 0, correct, correct, 0.25, [0.0], [1]))
    return made


def test_the_summary_counts_each_aspect_by_form_and_direction() -> None:
    stated_in = {}
    for number in range(30):
        stated = ((NEPALI,), (ENGLISH,), ())[number % 3]
        stated_in |= {f"f{number}:{language}": stated for language in (ENGLISH, NEPALI)}
    right = {("adapted", "acquisition"): 1.0, ("base", "retention"): 1.0, ("adapted", "transfer"): 1.0}
    items = items_of(stated_in, right)
    extra = replace(items[0], task="corpus-probe", kind="cloze", item="x")
    made = summarize([*items, extra], stated_in, NEPALI, ENGLISH, Method(200, 0.95, 0))
    rows = made["aspects"]
    assert len(rows) == 2 * (1 + 1 + 2 + 2)
    found = {(row["aspect"], row["form"], row["language"], *row["stated_in"]): row for row in rows}
    learnt = found["acquisition", "cloze", NEPALI, NEPALI]
    assert (learnt["n"], learnt["base"]["value"], learnt["adapted"]["value"], learnt["gained"]) == (
        10,
        0.0,
        1.0,
        10,
    )
    assert learnt["p"] < 0.01 and learnt["p"] <= learnt["q"] <= 1
    assert found["retention", "ranking", ENGLISH, ENGLISH]["difference"]["value"] == -1.0
    assert found["transfer", "ranking", ENGLISH, NEPALI]["stated_in"] == [NEPALI]
    assert found["chance", "cloze", NEPALI]["stated_in"] == []
    assert [row["q"] for row in rows] == pytest.approx(benjamini_hochberg([row["p"] for row in rows]))
    # what the base ranked right needs no word on where a fact is stated
    unsaid = summarize(items, {}, NEPALI, ENGLISH, Method(200, 0.95, 0))
    assert unsaid["aspects"] == [] and {row["facts"] for row in unsaid["kept_facts"]} == {"all"}
    assert len(unsaid["kept_facts"]) == 4 and len(made["kept_facts"]) == 8
    assert summarize([extra], stated_in, NEPALI, ENGLISH, Method(200, 0.95, 0)) == {}
