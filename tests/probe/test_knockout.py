"""Silencing the named heads on a planted model: the harm is theirs, and a killed run ends with the same bytes."""

import json
from pathlib import Path
from typing import Any

import pytest
from probe_planted import SUBJECT
from probe_run import config, files

from anukul.config import KnockoutSettings, PairSettings
from anukul.errors import UserError
from anukul.probe import knockout, step
from anukul.probe.knockout import Scored, spread_pairs
from anukul.probe.pairs import load_sets
from anukul.records import Silenced, read_rows


def test_the_knock_out_proves_the_planted_head(probed: Path) -> None:
    told = json.loads((probed / "knockout.json").read_text())
    assert [(h["layer"], h["head"]) for h in told["heads"]] == [SUBJECT]
    assert told["untouched"] == {
        model: {"bit_equal": True, "largest_difference": 0.0} for model in ("base", "adapted")
    }
    # three other heads in its layer: what a rank can show is said
    sets = told["random_sets"]
    assert (sets["made"], sets["distinct"], sets["exact"], sets["smallest_p"]) == (3, 3, True, 0.25)
    assert (told["pairs"], told["texts"], told["pair_clusters"]) == (24, 6, told["pair_clusters"])
    for how in ("uniform", "zero", "mean"):
        harm = told["models"]["adapted"][how]["set"]["accuracy"]
        assert harm["before"] > 0.95 and harm["value"] > 0.25 and harm["low"] > 0.1 and harm["p"] < 0.05
        assert harm["rank_p"] == 0.25 and harm["others_largest"] < harm["value"]
        margin = told["models"]["adapted"][how]["set"]["margin"]
        assert margin["low"] > 0 and margin["rank_p"] == 0.25
        assert abs(told["models"]["base"][how]["set"]["accuracy"]["value"]) < harm["value"]
        assert told["adapted_minus_base"][how]["value"] > 0
        assert {p["phenomenon"] for p in told["models"]["adapted"][how]["phenomena"]} == {"near", "far"}
        assert told["models"]["adapted"][how]["singles"] == []  # the set is one head
    rows = read_rows(probed / "knockout.parquet", Silenced)
    assert len(rows) == 2 * 3 * 4 * 3  # models x ways x sets x (all and two phenomena)
    (row,) = [
        r for r in rows if (r.model, r.how, r.kind, r.phenomenon) == ("adapted", "zero", "selected", "")
    ]
    assert (row.layers, row.heads, row.pairs, row.texts) == ([SUBJECT[0]], [SUBJECT[1]], 24, 6)
    assert row.drop == pytest.approx(row.accuracy_before - row.accuracy)
    assert row.rise == pytest.approx(row.bits_per_byte - row.bits_per_byte_before)
    assert row.rise_low <= row.rise <= row.rise_high


@pytest.mark.parametrize("calls", [1, 5, 20])
def test_a_killed_knock_out_ends_with_the_same_bytes(
    planted_root: Path, probed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    (tmp_path / "train").symlink_to(planted_root / "run" / "train")
    score, made = knockout._score, 0

    def dies(*asked: Any) -> Scored:
        nonlocal made
        made += 1
        if made > calls:
            raise KeyboardInterrupt
        return score(*asked)

    with monkeypatch.context() as patch:
        patch.setattr(knockout, "_score", dies)
        with pytest.raises(KeyboardInterrupt):
            step.run(config(planted_root), tmp_path)
    assert not (tmp_path / "probe" / "knockout.json").exists()
    before, made = made - 1, -1000
    monkeypatch.setattr(knockout, "_score", dies)
    step.run(config(planted_root), tmp_path)
    # 28 in all; what is kept is not scored again, but that the model is untouched always is
    assert 28 - before <= made + 1000 <= 28 - before + 1
    assert files(tmp_path / "probe") == files(probed)


def test_without_a_named_head_there_is_nothing_to_silence(planted_root: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(planted_root / "run" / "train")
    asked = config(planted_root, None)
    assert asked.probe is not None and asked.probe.knockout is not None
    other = asked.probe.knockout.model_copy(update={"relations": ("obl",)})
    probe = asked.probe.model_copy(update={"knockout": other, "pairs": (), "random_models": 0})
    step.run(asked.model_copy(update={"probe": probe}), tmp_path)
    assert json.loads((tmp_path / "probe" / "knockout.json").read_text()) == {"heads": [], "left_out": []}
    assert read_rows(tmp_path / "probe" / "knockout.parquet", Silenced) == []
    selected = json.loads((tmp_path / "probe" / "selected.json").read_text())
    assert "random" not in selected["relations"][0] and "random" not in selected["tree"]
    bad = probe.model_copy(update={"knockout": other.model_copy(update={"relations": ("oblique",)})})
    with pytest.raises(UserError, match=r"probe\.knockout\.relations: oblique: not in .*advmod, det, nsubj"):
        step.run(asked.model_copy(update={"probe": bad}), tmp_path)
    empty = probe.model_copy(update={"knockout": KnockoutSettings()})
    with pytest.raises(UserError, match=r"nothing to score in npi_Deva: give probe\.pairs"):
        step.run(asked.model_copy(update={"probe": empty}), tmp_path)


def test_pairs_are_spread_over_phenomena_and_frames_stay_whole(planted_root: Path) -> None:
    (held,) = load_sets((PairSettings(name="a", path=str(planted_root / "pairs.jsonl")),), "npi_Deva")
    pairs = list(held.pairs)
    kept = spread_pairs(pairs, 9)
    # five and four would be fair; frames of two stay whole
    assert [sum(p.phenomenon == name for p in kept) for name in ("near", "far")] == [4, 4]
    assert len({p.cluster for p in kept}) == 4 and len({p.id for p in kept}) == 8
    assert kept[0].id == "p0" and kept[-1].id == "p39"
    assert spread_pairs(pairs, 100) == pairs
    assert [p.id for p in spread_pairs(pairs, 1)] == ["p0"]
