"""`HeadScores`: what a notebook reads from a run folder."""

from pathlib import Path

import numpy as np
import pytest
from probe_planted import SUBJECT

from anukul.errors import UserError
from anukul.probe import HeadScores


def test_a_notebook_reads_the_scores(probed: Path) -> None:
    scores = HeadScores.read(probed.parent)
    assert (scores.layers, scores.heads) == (2, 4)
    assert scores.models == ["random-0", "base", "adapted"]
    assert ("nsubj", "head") in scores.relations
    accuracy = scores.accuracy("nsubj")
    assert accuracy.shape == (2, 4) and np.unravel_index(accuracy.argmax(), (2, 4)) == SUBJECT
    best = scores.best("nsubj")
    assert (best.layer, best.head, best.named) == (*SUBJECT, True)
    assert best.accuracy == accuracy[SUBJECT] and best.low <= best.accuracy <= best.high
    assert best.baseline == scores.baseline("nsubj") and best.n == scores.n("nsubj")
    assert scores.significant("nsubj")[SUBJECT] and not scores.significant("det").any()
    change = scores.change("nsubj", "head")
    assert change.change.shape == (2, 4) and change.verdict[SUBJECT] == "gained" and change.q[SUBJECT] < 0.01
    whole = scores.accuracy("nsubj", half="all") - scores.accuracy("nsubj", model="base", half="all")
    assert change.change == pytest.approx(whole)
    assert scores.mass("nsubj", "head", "base", "all").max() < 1
    assert (scores.sink() > 0).all() and scores.sink("random-0").shape == (2, 4)
    frame = scores.to_pandas()
    assert len(frame) == scores.table().num_rows == 288 and "permuted" in frame.columns
    for call, fault in (
        (lambda: scores.accuracy("nsubjj"), "was not scored; there are advmod"),
        (lambda: scores.accuracy("nsubj", "dependent"), "only head"),
        (lambda: scores.accuracy("nsubj", model="other"), "random-0, base, adapted"),
        (lambda: scores.values("acc", "nsubj"), "no column"),
        (lambda: scores.change("nsubj", "both"), "only head"),
        (lambda: scores.best("nsubj", model="random-0"), "base and adapted"),
        (lambda: HeadScores.read(probed.parent / "train"), "no heads.parquet"),
    ):
        with pytest.raises(UserError, match=fault):
            call()
