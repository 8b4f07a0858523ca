"""The score cache: exact floats, torn lines."""

import math
from pathlib import Path

import pytest

from anukul.scoring.cache import BatchCache, wave_key
from anukul.scoring.trie import Request

SCORES = [(-1 / 3, True), (-12345.678901234567, False), (-5e-324, True), (0.0, False)]


def test_floats_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "batches.jsonl"
    BatchCache(path).put("a" * 64, SCORES)
    assert BatchCache(path).get("a" * 64) == SCORES
    cache = BatchCache(path)
    cache.put("b", [(math.nan, False), (-math.inf, True)])
    value = BatchCache(path).get("b")
    assert value is not None
    assert math.isnan(value[0][0])
    assert value[1] == (-math.inf, True)


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_torn_last_line_is_dropped_and_overwritten(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "scores.txt"
    cache = BatchCache(path)
    cache.put("a", SCORES)
    cache.put("b", SCORES)
    path.write_bytes(path.read_bytes()[:-lost])
    again = BatchCache(path)
    assert again.get("a") == SCORES
    assert again.get("b") is None
    again.put("c", SCORES[:1])
    final = BatchCache(path)
    assert (final.get("a"), final.get("c"), len(final)) == (SCORES, SCORES[:1], 2)


def test_keys_tell_models_splits_and_order_apart() -> None:
    one, two = Request((1, 2), (3,)), Request((1,), (2, 3))
    keys = [
        wave_key("m", [[one]]),
        wave_key("n", [[one]]),
        wave_key("m", [[two]]),
        wave_key("m", [[one, two]]),
        wave_key("m", [[one], [two]]),
        wave_key("m", [[two, one]]),
        wave_key("m", [[Request((12,), (3,))]]),
    ]
    assert len(set(keys)) == len(keys)
