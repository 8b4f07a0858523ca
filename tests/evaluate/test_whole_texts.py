"""Facts, minimal pairs and held-out lines."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from anukul.config import HeldOutText, ModelSettings
from anukul.errors import UserError
from anukul.evaluate.agreement import load_pairs
from anukul.evaluate.bits_per_byte import load_lines
from anukul.evaluate.knowledge.facts import load_facts
from anukul.evaluate.whole_texts import Ranking, score_rankings
from anukul.model.base import load_base
from anukul.scoring.scorer import Scorer

FACT: dict[str, Any] = {
    "id": "f1",
    "relation": "lives_in",
    "subject": {"eng_Latn": "Pokharel Ram", "npi_Deva": "राम पोखरेल"},
    "object": {"eng_Latn": "Pokhara", "npi_Deva": "पोखरा"},
    "distractors": [
        {"eng_Latn": "Kathmandu", "npi_Deva": "काठमाडौं"},
        {"eng_Latn": "Dharan", "npi_Deva": "धरान"},
        {"eng_Latn": "Jumla", "npi_Deva": "जुम्ला"},
    ],
    "split": "new",
    "statement": {"eng_Latn": "Pokharel Ram lives in Pokhara.", "npi_Deva": "राम पोखरेल पोखरामा बस्छन्।"},
}


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_facts_swap_the_object_only(tmp_path: Path) -> None:
    english, nepali = load_facts(write(tmp_path / "facts.jsonl", [FACT])).rankings
    assert english.texts == (
        "Pokharel Ram lives in Pokhara.",
        "Pokharel Ram lives in Kathmandu.",
        "Pokharel Ram lives in Dharan.",
        "Pokharel Ram lives in Jumla.",
    )
    assert nepali.texts[1] == "राम पोखरेल काठमाडौंमा बस्छन्।"
    assert (english.id, nepali.id, english.cluster, nepali.cluster) == (
        "f1:eng_Latn",
        "f1:npi_Deva",
        "f1",
        "f1",
    )
    assert (english.split, english.gold, english.kind) == ("new", 0, "knowledge")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"object": {"eng_Latn": "Butwal", "npi_Deva": "पोखरा"}},
            "line 1: the statement does not name the object",
        ),
        ({"object": {"eng_Latn": "Pokhara"}}, "line 1: 'object': 'npi_Deva' must be a text"),
        ({"distractors": []}, "line 1: 'distractors'"),
        ({"distractors": [{"eng_Latn": "Pokhara", "npi_Deva": "धरान"}]}, "a distractor equals the object"),
        ({"statement": "Ram"}, "line 1: 'statement' must be an object"),
        ({"subject": None}, "line 1: 'subject' must be an object"),
    ],
)
def test_bad_facts(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_facts(write(tmp_path / "facts.jsonl", [{**FACT, **change}]))


def test_minimal_pairs_of_both_kinds(tmp_path: Path) -> None:
    rows = [
        {"good": "म जान्छु।", "bad": "म जान्छ।", "phenomenon": "person", "distance": 3},
        {
            "sentence_good": "She goes.",
            "sentence_bad": "She go.",
            "linguistics_term": "sv",
            "language": "eng_Latn",
        },
    ]
    ours, blimp = load_pairs(write(tmp_path / "pairs.jsonl", rows), "npi_Deva", "npi_Deva")
    assert (ours.texts, ours.phenomenon, ours.role, ours.language) == (
        ("म जान्छु।", "म जान्छ।"),
        "person",
        "target",
        "npi_Deva",
    )
    assert (blimp.texts, blimp.phenomenon, blimp.role) == (("She goes.", "She go."), "sv", "forgetting")
    with pytest.raises(UserError, match="line 1: the good and the bad sentence are the same"):
        load_pairs(write(tmp_path / "pairs.jsonl", [{"good": "a", "bad": "a"}]), "npi_Deva", "npi_Deva")
    with pytest.raises(UserError, match="line 1: 'bad' must be a text"):
        load_pairs(write(tmp_path / "pairs.jsonl", [{"good": "a"}]), "npi_Deva", "npi_Deva")
    with pytest.raises(UserError, match="no minimal pairs"):
        load_pairs(write(tmp_path / "pairs.jsonl", []), "npi_Deva", "npi_Deva")


def test_held_out_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\n two \nthree\nfour\n", encoding="utf-8")
    settings = HeldOutText(name="a", path=str(tmp_path / "a.txt"), language="npi_Deva", skip=1, limit=2)
    lines = load_lines(settings, "npi_Deva")
    assert [(line.id, line.texts[0], line.role) for line in lines] == [
        ("3", " two ", "target"),
        ("4", "three", "target"),
    ]
    jsonl = write(tmp_path / "b.jsonl", [{"text": "x"}, {"text": "y"}])
    lines = load_lines(HeldOutText(name="b", path=jsonl, language="eng_Latn"), "npi_Deva")
    assert [(line.texts[0], line.role) for line in lines] == [("x", "forgetting"), ("y", "forgetting")]
    with pytest.raises(UserError, match="no lines after the first 9"):
        load_lines(settings.model_copy(update={"skip": 9}), "npi_Deva")


def test_scores_and_ties(tiny_settings: ModelSettings) -> None:
    loaded = load_base(tiny_settings)
    scorer = Scorer(loaded, 512)

    def ranking(texts: tuple[str, ...], gold: int) -> Ranking:
        return Ranking("agreement", "agreement", "eng_Latn", "target", "1", "1", "", "p", texts, gold)

    texts = ("Ram eats rice.", "Ram eat rice.")
    values = scorer.score_texts(texts)
    best = values.index(max(values))
    right, wrong, tie = score_rankings(
        scorer, [ranking(texts, best), ranking(texts, 1 - best), ranking((texts[0], texts[0]), 0)], "base"
    )
    assert (right.correct, wrong.correct, right.prediction, wrong.prediction) == (1.0, 0.0, best, best)
    assert (tie.correct, tie.prediction) == (0.0, -1)
    assert right.loglikelihoods == pytest.approx(values, abs=1e-4)
    assert right.byte_counts == [14, 13]
    alone = score_rankings(scorer, [ranking(("Ram",), -1)], "base")[0]
    assert math.isnan(alone.correct) and math.isnan(alone.chance)


def test_whole_text_likelihood_is_the_models_own(tiny_settings: ModelSettings) -> None:
    import torch

    loaded = load_base(tiny_settings)
    text = "रामले गाउँमा भात खायो।"
    ids = loaded.tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids[0, 0] == loaded.prefix_id
    with torch.no_grad():
        loss = loaded.model(ids, labels=ids).loss
    assert Scorer(loaded, 512).score_texts([text])[0] == pytest.approx(
        -loss.item() * (ids.shape[1] - 1), abs=1e-3
    )
    assert Scorer(loaded, 512).score_texts([]) == []


@pytest.mark.real
def test_bits_per_byte_of_a_real_base(real_data: Path) -> None:
    folder = str(real_data / "model" / "stories260K")
    loaded = load_base(ModelSettings(path=folder, quantization="none", compute_dtype="float32"))
    found = {}
    for language in ("npi_Deva", "eng_Latn"):
        path = str(real_data / "parallel" / "flores200" / f"{language}.devtest")
        lines = load_lines(HeldOutText(name="f", path=path, language=language, limit=100), "npi_Deva")
        made = score_rankings(Scorer(loaded, 2048), lines, "base")
        nats = -sum(item.loglikelihoods[0] for item in made)
        found[language] = nats / math.log(2) / sum(item.byte_counts[0] for item in made)
    assert found["npi_Deva"] == pytest.approx(33.7, abs=0.3)
    assert found["eng_Latn"] == pytest.approx(3.5, abs=0.25)
