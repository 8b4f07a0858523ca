"""What rows are remembered by, against sets and dicts of Python."""

import random
import sys
from pathlib import Path

import pytest

from anukul.records import Document, write_rows
from anukul.synth import seen
from anukul.synth.seen import DocumentIds, Seen, id_key
from anukul.text.keys import hash_key


def test_it_holds_what_a_set_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "NEW", 7)
    draw = random.Random(0)
    held, known = Seen(), set[int]()
    for _ in range(3000):
        key = draw.choice((draw.randrange(2000), draw.getrandbits(128), (1 << 64) - 1, 1 << 63))
        low = key & ((1 << 64) - 1)
        assert (key in held) == (low in known)
        held.add(key)
        known.add(low)
        assert key in held
    sizes = [len(block) for block in held._blocks]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) < 12 and len(held._new) < 7
    assert all(key in held for key in known)


def test_a_copy_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "NEW", 4)
    held = Seen()
    for key in range(10):
        held.add(key)
    before = held.copy()
    for key in range(10, 30):
        held.add(key)
    assert [key in before for key in range(30)] == [key < 10 for key in range(30)]
    before.add(99)
    assert 99 not in held


def test_a_million_keys_take_ten_megabytes() -> None:
    held = Seen()
    for number in range(1_000_000):
        held.add(id_key(str(number)))
    size = sum(block.nbytes for block in held._blocks) + sys.getsizeof(held._new) + 36 * len(held._new)
    assert size < 13e6  # a set of Python's takes 100 MB


def test_documents_are_known_by_their_words_and_the_last_of_equal_ones_counts(tmp_path: Path) -> None:
    texts = ["रामले भात खायो।", "सीता आइन्।", "रामले  भात खायो", "म घर जान्छु।"]
    rows = [Document(f"d{i}", text, "npi_Deva", "s", "CC0", []) for i, text in enumerate(texts)]
    write_rows(tmp_path / "documents.parquet", rows, Document)
    ids = DocumentIds(tmp_path / "documents.parquet")
    assert [ids.get(hash_key(text)) for text in texts] == ["d2", "d1", "d2", "d3"]
    assert ids.get(hash_key("केही छैन")) == "" and ids.get(0) == "" and ids.get((1 << 128) - 1) == ""
    assert DocumentIds(tmp_path / "none.parquet").get(hash_key(texts[0])) == ""
    write_rows(tmp_path / "empty.parquet", [], Document)
    assert DocumentIds(tmp_path / "empty.parquet").get(1) == ""
