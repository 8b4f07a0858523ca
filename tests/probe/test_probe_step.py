"""The whole step on a planted model: what the adapter brought is found; killed runs end with the same bytes."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from probe_planted import PREVIOUS, SUBJECT, word_tokenizer
from probe_run import CASE, config, files, settings

from anukul.config import CaseStudy
from anukul.errors import UserError
from anukul.model.base import load_base
from anukul.probe import passes, step
from anukul.probe.align import align
from anukul.probe.observe import Observed, Prepared, observe
from anukul.probe.treebank import arcs_of, read_treebank
from anukul.records import HeadChange, HeadScore, read_rows


def test_the_planted_heads_are_named(probed: Path) -> None:
    selected = json.loads((probed / "selected.json").read_text())
    entries = {f"{e['relation']}/{e['direction']}": e for e in selected["relations"]}
    assert sorted(entries) == ["advmod/head", "det/head", "nsubj/head", "obl/head"]
    subject = entries["nsubj/head"]["adapted"]
    assert (subject["layer"], subject["head"]) == SUBJECT
    assert subject["accuracy"] > 0.95
    assert subject["mass"] > 0.8
    assert subject["difference_low"] > 0.3
    assert subject["change"]["low"] > 0.3
    assert subject["q"] < 0.01
    # random weights tell nouns from other words, and there are three of them: better than an offset, not by much
    assert entries["nsubj/head"]["base"]["accuracy"] < 0.7
    for model in ("base", "adapted"):
        determiner = entries["det/head"][model]
        assert (determiner["layer"], determiner["head"]) == PREVIOUS
        assert determiner["accuracy"] == 1.0
        # it knows no more than an offset does
        assert entries["det/head"]["baseline"] == {"offset": -1, "accuracy_selection": 1.0, "accuracy": 1.0}
        assert determiner["difference"] == 0.0
        assert entries["advmod/head"][model]["difference_low"] <= 0.1
    assert selected["sentences"]["scored"] == 60
    assert len(selected["sink"]["base"]) == 2 and len(selected["sink"]["base"][0]) == 4
    assert all(0 < value < 1 for row in selected["sink"]["base"] for value in row)


def test_every_control_has_its_say(probed: Path) -> None:
    selected = json.loads((probed / "selected.json").read_text())
    entries = {f"{e['relation']}/{e['direction']}": e for e in selected["relations"]}
    subject, determiner = entries["nsubj/head"]["adapted"], entries["det/head"]["adapted"]
    assert subject["named"] == [list(SUBJECT)]
    assert subject["crossfit"]["heads"] == [list(SUBJECT)] * 2
    assert subject["crossfit"]["difference_low"] > 0.3 and subject["crossfit"]["q"] < 0.01
    assert subject["crossfit"]["over_random"]["low"] > 0.2
    assert subject["permutation"]["p"] == subject["permutation"]["p_smallest"] < 0.01
    assert subject["permuted"] < 0.5
    # the head that looks one word back keeps its score when arcs are permuted: nothing is named for det
    assert determiner["permuted"] == 1.0 == determiner["accuracy"]
    assert determiner["named"] == [] and determiner["permutation"]["p"] > 0.5
    assert entries["advmod/head"]["adapted"]["named"] == []
    assert [(h["layer"], h["head"]) for h in selected["resolvers"]["adapted"]] == [SUBJECT]
    assert selected["resolvers"]["adapted"][0]["relations"] == ["nsubj/head"]
    assert entries["nsubj/head"]["random"]["models"] == selected["random_models"] == 1
    gained = [(h["relation"], h["layer"], h["head"]) for h in selected["changed"]["gained"]]
    assert ("nsubj", *SUBJECT) in gained
    tree = selected["tree"]
    assert tree["arcs"] == selected["arcs"]["scored"]
    assert tree["adapted_minus_base"]["low"] > 0 and tree["adapted_minus_offset"]["low"] > 0
    assert set(selected["sink"]) == {"base", "adapted", "random-0"}
    changes = read_rows(probed / "changes.parquet", HeadChange)
    assert len(changes) == 4 * 8 == selected["changed"]["tests"]
    (row,) = [r for r in changes if (r.relation, r.layer, r.head) == ("nsubj", *SUBJECT)]
    assert row.verdict == "gained" and row.q < 0.01


def test_parquet_and_csv_hold_the_same_rows(probed: Path) -> None:
    rows = read_rows(probed / "heads.parquet", HeadScore)
    with (probed / "heads.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows) == 288
    assert [float(line["accuracy"]) for line in table] == [row.accuracy for row in rows]
    assert all(row.low <= row.accuracy <= row.high for row in rows)


def test_the_case_study_shows_the_head_that_changed(probed: Path) -> None:
    case = json.loads((probed / "case.json").read_text())
    assert case["words"] == ["d", "n3", "a", "d", "n5", "b", "v3"]
    assert (case["query"], case["key"], case["swapped"]) == (6, 1, True)
    assert (case["head"]["layer"], case["head"]["head"]) == SUBJECT
    assert case["head"]["change"] > 0.5
    assert case["adapted"]["attention"][1][2] == case["adapted"]["map"][6][1]
    assert case["adapted"]["share"][1][2] > 0.9
    for model in ("base", "adapted"):
        for i, (row, sink) in enumerate(zip(case[model]["map"], case[model]["sink"], strict=True)):
            assert sum(row) + sink == pytest.approx(1.0, abs=1e-5)
            assert not any(row[i + 1 :])


@pytest.mark.parametrize("calls", [2, 5])
def test_a_killed_run_ends_with_the_same_bytes(
    planted_root: Path, probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    (tmp_path / "train").symlink_to(planted_root / "run" / "train")
    made = 0

    def dies(loaded: object, batch: list[Prepared]) -> Observed:
        nonlocal made
        made += 1
        if made > calls:
            raise KeyboardInterrupt
        return observe(loaded, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(passes, "observe", dies)
        with pytest.raises(KeyboardInterrupt):
            step.run(config(planted_root), tmp_path)
    parts = tmp_path / "probe" / "parts"
    kept = {file: file.stat().st_mtime_ns for file in parts.iterdir()}
    assert len(kept) == calls
    assert not (tmp_path / "probe" / "selected.json").exists()
    counted: list[int] = []
    monkeypatch.setattr(passes, "observe", lambda loaded, batch: counted.append(1) or observe(loaded, batch))
    step.run(config(planted_root), tmp_path)
    assert len(counted) == 3 * 4 - calls  # nothing is done twice
    assert not parts.exists()
    assert files(tmp_path / "probe") == files(probed)


def test_a_sentence_gives_the_same_alone_and_in_a_batch(planted_root: Path) -> None:
    loaded = load_base(settings(planted_root))
    sentences = read_treebank(planted_root / "trees.conllu", 6)
    items = [Prepared(align(s, loaded.tokenizer, 0), tuple(arcs_of(s))) for s in sentences]
    together = observe(loaded, items)
    alone = [observe(loaded, [item]) for item in items]
    assert (together.correct == np.concatenate([one.correct for one in alone])).all()
    assert abs(together.mass - np.concatenate([one.mass for one in alone])).max() < 1e-5
    assert together.rows == sum(one.rows for one in alone)
    assert abs(together.sink - sum(one.sink for one in alone)).max() < 1e-4


def test_long_sentences_and_words_without_tokens_are_counted(planted_root: Path) -> None:
    loaded = load_base(settings(planted_root))
    loaded.model.config.max_position_embeddings = 10
    sentences = read_treebank(planted_root / "trees.conllu", 20)
    work = step.prepare(sentences, loaded, ())
    assert work.too_long == sum(len(s.words) > 9 for s in sentences) > 0
    assert len(work.items) == 20 - work.too_long


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        (CASE.model_copy(update={"query": "n7"}), "query: 'n7' is not a word .* d n3 a d n5 b v3"),
        (CASE.model_copy(update={"key": "d#3"}), "key: 'd#3' is not a word"),
        (CASE.model_copy(update={"key": "n3"}), "the same word"),
    ],
)
def test_case_words_must_be_in_the_sentence(
    planted_root: Path, tmp_path: Path, case: CaseStudy, fault: str
) -> None:
    with pytest.raises(UserError, match=fault):
        step.run(config(planted_root, case), tmp_path)


def test_a_second_occurrence_can_be_asked_for() -> None:
    from anukul.probe.case import find_words

    sentence, query, key = find_words(CaseStudy(sentence="गर्‍यो, राम र राम।", query="राम#2", key="राम"))
    assert [word.form for word in sentence.words] == ["गर्‍यो", ",", "राम", "र", "राम", "।"]
    assert (query, key) == (4, 2)


def test_bad_input_is_said(planted_root: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"probe\.relations: nsubjj: not in .*advmod, det, nsubj, obl"):
        step.run(config(planted_root, relations=("nsubjj",)), tmp_path)
    with pytest.raises(UserError, match="no adapter here"):
        step.run(config(planted_root), tmp_path)
    trees = planted_root / "run"
    few = config(planted_root, case=None)
    assert few.probe is not None
    few = few.model_copy(update={"probe": few.probe.model_copy(update={"min_arcs": 5000})})
    with pytest.raises(UserError, match=r"probe\.min_arcs: no relation has 5000 arcs"):
        step.run(few, trees)
    with pytest.raises(UserError, match="no `train` section"):
        step.run(few.model_copy(update={"train": None}), trees)


def test_the_tokenizer_has_one_token_for_each_word() -> None:
    assert len(word_tokenizer()("d n3 a v7")["input_ids"]) == 4
