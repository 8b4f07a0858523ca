"""The mean over pieces: equal to the last piece where words are one piece, their mean where they are two."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_planted import SUBJECT
from probe_run import config, settings

from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.probe import step
from anukul.probe.align import Aligned, align
from anukul.probe.observe import Prepared, observe
from anukul.probe.pieces import observe_mean
from anukul.probe.treebank import Arc, Sentence, Word, arcs_of, read_treebank


@pytest.fixture(scope="module")
def loaded(planted_root: Path) -> Any:
    model = load_base(settings(planted_root))
    load_adapter(model, planted_root / "run" / "train" / "words" / "adapter")
    return model


def test_words_of_one_piece_are_read_alike(loaded: Any, planted_root: Path) -> None:
    sentences = read_treebank(planted_root / "trees.conllu", 8)
    items = [Prepared(align(s, loaded.tokenizer, 0), tuple(arcs_of(s))) for s in sentences]
    last, mean = observe(loaded, items), observe_mean(loaded, items)
    assert (last.correct == mean.correct).all() and (last.found == mean.found).all()
    assert np.allclose(last.mass, mean.mass, atol=1e-5)
    assert np.allclose(last.sink, mean.sink, atol=1e-4) and last.rows == mean.rows


def test_words_of_two_pieces_are_averaged_before_they_are_judged(loaded: Any) -> None:
    text = "d n3 a d n5 b v3"
    starts = np.cumsum([0, *(len(word) + 1 for word in text.split())])
    words = [Word(w, int(s), int(s) + len(w), -1, "") for w, s in zip(text.split(), starts, strict=False)]
    joined = (*words[:5], Word("b v3", words[5].start, words[6].end, -1, ""))
    whole = align(Sentence(0, "one", text, joined), loaded.tokenizer, 0)
    assert whole.word_of.tolist() == [-1, 0, 1, 2, 3, 4, 5, 5]
    arc = Arc(5, 1, "nsubj", "head")
    mean = observe_mean(loaded, [Prepared(whole, (arc,))])
    # each piece by itself, as if it were the word's last
    alone = []
    for token in (6, 7):
        last = whole.last.copy()
        last[5] = token
        seen = observe(loaded, [Prepared(Aligned(whole.sentence, whole.ids, whole.word_of, last), (arc,))])
        alone.append(seen)
    assert np.allclose(mean.sink, (alone[0].sink + alone[1].sink) / 2, atol=1e-5)
    assert mean.rows == 1
    low, high = np.minimum(alone[0].mass, alone[1].mass), np.maximum(alone[0].mass, alone[1].mass)
    assert ((mean.mass >= low - 1e-6) & (mean.mass <= high + 1e-6)).all()
    assert not np.allclose(mean.mass, alone[1].mass, atol=1e-3)


def test_the_step_writes_whether_the_findings_hold(planted_root: Path, probed: Path, tmp_path: Path) -> None:
    run = config(planted_root, case=None)
    assert run.probe is not None
    probe = run.probe.model_copy(update={"mean_of_pieces": True, "knockout": None, "pairs": ()})
    (tmp_path / "train").symlink_to(planted_root / "run" / "train")
    result = step.run(run.model_copy(update={"probe": probe}), tmp_path)
    assert "pieces.json" in result.outputs and not (tmp_path / "probe" / "parts").exists()
    pieces = json.loads((tmp_path / "probe" / "pieces.json").read_text())
    selected = json.loads((probed / "selected.json").read_text())
    # every word is one piece: nothing can differ
    assert pieces["split"] == 0 < pieces["words"] and pieces["holds"]
    told = pieces["models"]["adapted"]
    assert told["last"]["named"] == told["mean"]["named"] == [list(SUBJECT)]
    assert told["mean"]["tree"]["value"] == pytest.approx(selected["tree"]["adapted"]["value"], abs=0.01)
    assert [entry["relation"] for entry in pieces["relations"]] == ["advmod", "det", "nsubj", "obl"]
