"""Minimal pairs: the files they come in, their scores, their table, and runs that were killed."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anukul.config import LoraSettings, ModelSettings, PairSettings
from anukul.errors import UserError
from anukul.items.pairs import MinimalPair, load_pairs
from anukul.model.adapter import add_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.probe import pairs as probe_pairs
from anukul.probe.pairs import bracketed, byte_counts, load_sets, run_pairs, sample, score_pairs
from anukul.probe.pairs_table import pairs_table, right
from anukul.records import PairScore, read_rows
from anukul.scoring.scorer import Scorer

OURS = [
    {"id": f"p{n}", "good": f"म {word} जान्छु।", "bad": f"म {word} जान्छ।", "phenomenon": "person", "distance": n % 3,
     "attractor": "मसँग" if n % 2 else "", "cluster": f"frame-{n // 2}"}
    for n, word in enumerate(["गाउँ", "बजार", "खोलामा", "विद्यालय", "आज", "हिजो"])
]  # fmt: skip
BLIMP = [
    {"sentence_good": "Sita went.", "sentence_bad": "Sita goed.", "field": "morphology",
     "linguistics_term": "irregular", "UID": "irregular_past", "simple_LM_method": True, "one_prefix_method": False,
     "two_prefix_method": False,
     "lexically_identical": False, "pairID": "0"},
    {"sentence_good": "Ram eats rice.", "sentence_bad": "Ram eat rice.", "UID": "irregular_past", "pairID": "1"},
]  # fmt: skip


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


# ---- reading


def test_our_pairs(tmp_path: Path) -> None:
    path = write(tmp_path / "ours.jsonl", [*OURS, {"good": "a b", "bad": "a c", "language": "eng_Latn"}])
    found = load_pairs(str(path), "npi_Deva")
    assert found[1] == MinimalPair(
        "p1", "म बजार जान्छु।", "म बजार जान्छ।", "person", "npi_Deva", "frame-0", "", 1, "मसँग"
    )
    assert found[0].attractor == ""
    # what is not said: the name of the file, the line, nothing known between
    assert found[6] == MinimalPair("7", "a b", "a c", "ours", "eng_Latn", "7")


def test_a_folder_of_blimp_files(tmp_path: Path) -> None:
    folder = tmp_path / "blimp"
    folder.mkdir()
    write(folder / "irregular_past.jsonl", BLIMP)
    plain = [{key: row[key] for key in ("sentence_good", "sentence_bad")} for row in BLIMP]
    write(folder / "agreement.jsonl", plain)
    (folder / "README.md").write_text("not pairs")
    for path in (folder, folder / "*.jsonl"):
        found = load_pairs(str(path), "eng_Latn")
        assert [(pair.id, pair.phenomenon) for pair in found] == [
            ("agreement:1", "agreement"), ("agreement:2", "agreement"),
            ("irregular_past/0", "irregular_past"), ("irregular_past/1", "irregular_past"),
        ]  # fmt: skip
    assert (found[2].good, found[2].bad) == ("Sita went.", "Sita goed.")
    assert (found[2].distance, found[2].attractor, found[2].cluster) == (-1, None, "irregular_past/0")


def test_multiblimp_tables(tmp_path: Path) -> None:
    path = tmp_path / "hin.tsv"
    lines = [
        "\tsen\twrong_sen\tphenomenon\tdistance",
        "0\tवह जाता है।\tवह जाती है।\tSV-G\t2",
        '1\t"वह ""राम"" है।"\tवह राम हैं।\tSV-#\t1',
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    first, second = load_pairs(str(path), "hin_Deva")
    assert (first.good, first.bad, first.phenomenon) == ("वह जाता है।", "वह जाती है।", "SV-G")
    assert (second.good, second.id, second.distance) == ('वह "राम" है।', "3", -1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OURS[0], {"good": "a", "bad": "a"}], "line 2: the good and the bad sentence are the same"),
        ([{"good": "a"}], "line 1: 'bad' must be a text that is not empty, got null"),
        ([{"sentence_good": "", "sentence_bad": "b"}], "line 1: 'sentence_good' must be a text"),
        ([{"query": "a"}], "line 1: a minimal pair needs good and bad, .* found query"),
        (
            [{"good": "a", "bad": "b", "distance": "2"}],
            "line 1: 'distance' must be a count of words, got \"2\"",
        ),
        ([{"good": "a", "bad": "b", "attractor": 1}], "line 1: 'attractor' must be a word"),
        ([OURS[0], OURS[0]], "two rows have the id 'p0'"),
        (["text"], "line 1: not a JSON object"),
        ([], "no minimal pairs in this file"),
    ],
)
def test_bad_rows(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=rf"pairs\.jsonl: {message}"):
        load_pairs(str(write(tmp_path / "pairs.jsonl", rows)), "npi_Deva")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        load_pairs(str(tmp_path / "none.jsonl"), "npi_Deva")
    with pytest.raises(UserError, match=r"no minimal pairs in this folder: it has no \.jsonl"):
        load_pairs(str(tmp_path), "npi_Deva")
    with pytest.raises(UserError, match=r"\*\.tsv: no such file"):
        load_pairs(str(tmp_path / "*.tsv"), "npi_Deva")
    (tmp_path / "a.tsv").write_text("sen\twrong_sen\na\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"a\.tsv: line 2: 'wrong_sen' must be a text that is not empty, got null"
    ):
        load_pairs(str(tmp_path / "a.tsv"), "npi_Deva")
    (tmp_path / "a.tsv").write_text("sen\twrong_sen\na\tb\tc\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.tsv: line 2: more cells than the header has"):
        load_pairs(str(tmp_path / "a.tsv"), "npi_Deva")
    write(tmp_path / "one.jsonl", [OURS[0]])
    (tmp_path / "a.tsv").write_text("good\tbad\nb\tb\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"/a\.tsv: line 2: the good and the bad sentence are the same"):
        load_pairs(str(tmp_path), "npi_Deva")


# ---- scoring


@pytest.fixture(scope="module")
def loaded(tiny_base: Path) -> Loaded:
    found = load_base(ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"))
    add_adapter(found, LoraSettings(rank=4, alpha=8), "frozen", seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in found.model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return found


@pytest.fixture
def settings(tmp_path: Path) -> tuple[PairSettings, ...]:
    return (
        PairSettings(name="ours", path=str(write(tmp_path / "ours.jsonl", OURS))),
        PairSettings(name="blimp", path=str(write(tmp_path / "blimp.jsonl", BLIMP)), language="eng_Latn"),
    )


def alone(loaded: Loaded, text: str) -> float:
    """The log-likelihood of one text by a plain forward."""
    ids = torch.tensor([[loaded.prefix_id, *loaded.tokenizer(text, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        logits = loaded.model(ids).logits[0, :-1].float().log_softmax(-1)
    return float(logits.gather(1, ids[0, 1:, None]).sum())


def test_scores_are_those_of_each_sentence_alone(loaded: Loaded, settings: tuple[PairSettings, ...]) -> None:
    pairs = [pair for held in load_sets(settings, "npi_Deva") for pair in held.pairs]
    with loaded.base_only():
        base = [[alone(loaded, text) for text in (pair.good, pair.bad)] for pair in pairs]
    adapted = [[alone(loaded, text) for text in (pair.good, pair.bad)] for pair in pairs]
    found = {
        model: score_pairs(Scorer(loaded, 512, adapter=model == "adapted"), pairs)
        for model in ("base", "adapted")
    }
    assert found["base"].shape == (8, 2) and found["base"].dtype == np.float64
    np.testing.assert_allclose(found["base"], base, atol=1e-4)
    np.testing.assert_allclose(found["adapted"], adapted, atol=1e-4)
    assert np.abs(found["base"] - found["adapted"]).min() > 1e-2
    assert byte_counts(pairs)[7].tolist() == [14, 13]
    assert score_pairs(Scorer(loaded, 512), []).shape == (0, 2)


def test_a_broken_model_is_told(loaded: Loaded, settings: tuple[PairSettings, ...]) -> None:
    weight = loaded.causal_lm.get_input_embeddings().weight
    kept = weight.data.clone()
    weight.data[:] = math.nan
    try:
        with pytest.raises(UserError, match="minimal pair 'p0': its log-likelihood is not a finite number"):
            scorer = Scorer(loaded, 512)
            scorer.follows = True
            score_pairs(scorer, load_sets(settings, "npi_Deva")[0].pairs)
    finally:
        weight.data = kept


def test_ties_are_not_right() -> None:
    assert right(np.array([[-1.0, -2.0], [-2.0, -1.0], [-3.0, -3.0]])).tolist() == [True, False, False]


def test_the_files(loaded: Loaded, settings: tuple[PairSettings, ...], tmp_path: Path) -> None:
    sets = load_sets(settings, "npi_Deva")
    result = run_pairs(loaded, sets, tmp_path / "probe", seed=3)
    assert result.outputs == ["pairs.parquet", "pairs.json", "pairs-sample.txt"]
    assert result.rows == {"pairs": 8}
    rows = read_rows(tmp_path / "probe" / "pairs.parquet", PairScore)
    assert [(row.model, row.set, row.pair) for row in rows[:2]] == [
        ("base", "ours", "p0"),
        ("base", "ours", "p1"),
    ]
    assert len(rows) == 16 and {row.language for row in rows if row.set == "blimp"} == {"eng_Latn"}
    assert rows[1].attractor == "मसँग" and rows[6].attractor is None and rows[6].distance == -1
    assert all(row.correct == (row.good_nats > row.bad_nats) for row in rows)
    scores = score_pairs(Scorer(loaded, 512), sets[0].pairs)
    assert [(row.good_nats, row.bad_nats) for row in rows[8:14]] == [
        pytest.approx(pair, abs=1e-3) for pair in scores
    ]
    table = json.loads((tmp_path / "probe" / "pairs.json").read_text(encoding="utf-8"))
    assert [held["name"] for held in table["sets"]] == ["ours", "blimp"] and table["chance"] == 0.5
    whole = [row for row in table["rows"] if row["whole_set"]]
    assert [(row["set"], row["n"]) for row in whole] == [("ours", 6), ("blimp", 2)]
    shown = (tmp_path / "probe" / "pairs-sample.txt").read_text(encoding="utf-8")
    assert "ours: person, 6 pairs" in shown and "blimp: irregular_past, 2 pairs" in shown
    assert "[जान्छु।]" in shown and "[जान्छ।]" in shown and "adapted" in shown


def test_a_killed_run_ends_with_the_same_bytes(
    loaded: Loaded, settings: tuple[PairSettings, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = load_sets(settings, "npi_Deva")
    run_pairs(loaded, sets, tmp_path / "whole", seed=3)
    forwards: list[int] = []
    score = Scorer._score

    def counted(self: Scorer, requests: Any, wave: Any, size: int) -> Any:
        forwards.append(size)
        if len(forwards) == 2:
            raise KeyboardInterrupt
        return score(self, requests, wave, size)

    monkeypatch.setattr(Scorer, "_score", counted)
    with pytest.raises(KeyboardInterrupt):
        run_pairs(loaded, sets, tmp_path / "killed", seed=3)
    assert not (tmp_path / "killed" / "pairs.json").exists()
    run_pairs(loaded, sets, tmp_path / "killed", seed=3)
    assert len(forwards) == 5  # two sets, two models; the one that finished is not done again
    for name in ("pairs.parquet", "pairs.json", "pairs-sample.txt"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


# ---- the table


def made(answers: dict[str, str], phenomenon: str = "p", held: str = "s", frame: int = 2) -> list[PairScore]:
    """Rows of one phenomenon from strings of 0 and 1 for each model; `frame` pairs share a cluster."""
    return [
        PairScore(
            model, held, "npi_Deva", f"{phenomenon}{n}", phenomenon, n % 2, "x" if n % 4 > 1 else "",
            f"{phenomenon}-{n // frame}", "a", "b", -1.0, -2.0, 1, 1, answer == "1",
        )
        for model, string in answers.items()
        for n, answer in enumerate(string)
    ]  # fmt: skip


def test_accuracies_and_paired_difference() -> None:
    base, adapted = "1000" * 10, "1110" * 10
    table = pairs_table(made({"base": base, "adapted": adapted}), seed=1)
    whole, *cut = table["rows"]
    assert whole["whole_set"] and [whole[key] for key in ("set", "phenomenon", "p", "q")] == [
        "s",
        None,
        None,
        None,
    ]
    row = next(r for r in cut if r["phenomenon"] == "p" and r["distance"] is None and r["attractor"] is None)
    assert (row["n"], row["clusters"], row["lost"], row["gained"]) == (40, 20, 0, 20)
    assert (row["base"]["value"], row["adapted"]["value"], row["difference"]["value"]) == (0.25, 0.75, 0.5)
    assert row["base"]["low"] < 0.25 < row["base"]["high"]
    # every frame gained one: exact McNemar over 20 frames
    assert row["difference"]["low"] == row["difference"]["high"] == 0.5
    assert row["p"] == pytest.approx(2 * 0.5**20) and row["q"] == row["p"]
    distances = {r["distance"]: r for r in cut if r["phenomenon"] == "p" and r["distance"] is not None}
    assert {d: r["adapted"]["value"] for d, r in distances.items()} == {0: 1.0, 1: 0.5}
    assert all(r["p"] is None and r["q"] is None for r in distances.values())
    # all right, and still not known to the last digit
    assert distances[0]["adapted"]["high"] == 1.0 and 0.8 < distances[0]["adapted"]["low"] < 0.9
    beside = [r for r in cut if r["phenomenon"] == "p" and r["attractor"] is not None]
    assert [(r["attractor"], r["base"]["value"]) for r in beside] == [(False, 0.5), (True, 0.0)]


def test_frames_make_intervals_wider() -> None:
    rng = np.random.default_rng(0)
    string = "".join(c * 4 for c in rng.choice(["0", "1"], 30))
    rows = {
        frame: pairs_table(made({"base": string, "adapted": string}, frame=frame), seed=1)["rows"][0]["base"]
        for frame in (1, 4)
    }
    width = {frame: found["high"] - found["low"] for frame, found in rows.items()}
    assert width[4] > 1.6 * width[1]


def test_q_is_over_the_phenomena_of_all_sets() -> None:
    rows = made({"base": "0" * 20, "adapted": "1" * 20}) + made(
        {"base": "01" * 10, "adapted": "01" * 10}, "q", "t"
    )
    table = pairs_table(rows, seed=1)
    tested = [row for row in table["rows"] if row["p"] is not None]
    assert [(row["set"], row["phenomenon"]) for row in tested] == [("s", "p"), ("t", "q")]
    assert table["family"]["comparisons"] == 2
    assert tested[0]["q"] == pytest.approx(2 * tested[0]["p"]) and tested[1]["p"] == tested[1]["q"] == 1.0


def test_other_pairs_for_the_two_models_are_refused() -> None:
    rows = made({"base": "01", "adapted": "01"})
    with pytest.raises(ValueError, match="not scored on the same pairs"):
        pairs_table(rows[:-1], seed=1)


# ---- the sample


def test_the_sample_shows_what_differs() -> None:
    assert bracketed("म घर जान्छु।", "म घर जान्छ।") == ("म घर [जान्छु।]", "म घर [जान्छ।]")
    assert bracketed("a b", "a") == ("a [b]", "a")
    pairs = tuple(
        MinimalPair(f"{n}", f"good {n}", f"bad {n}", "p", "npi_Deva", f"{n}", "", n % 5, "x" if n % 2 else "")
        for n in range(30)
    )
    text = sample([probe_pairs.PairSet("s", "a.jsonl", pairs)], {"base": [np.tile([-1.0, -2.5], (30, 1))]})
    assert text.count("  + [good]") == text.count("  - [bad]") == 3
    assert [line.split(",")[0].strip() for line in text.splitlines() if "distance" in line] == [
        "distance 0", "distance 2", "distance 4",
    ]  # fmt: skip
    assert "base +1.50 nats" in text and text.startswith("s: p, 30 pairs\n")
