import csv
import random
import resource
from collections.abc import Sequence
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from anukul.config.corpus import DedupSettings
from anukul.corpus import dedup
from anukul.corpus.dedup import Clusters, Duplicates
from anukul.corpus.minhash import band_keys, signatures, sketch
from anukul.text.keys import match_key
from anukul.text.shingles import shingle_hashes, word_hashes

NEAR = DedupSettings(min_similarity=0.6)
EXACT = DedupSettings(near=False)
LETTERS = "कखगमलरनसतप"
SIGNS = ["", "ा", "ि", "ी", "ु", "े", "ो", "्", "ं", "र्‍"]


def word(rng: random.Random) -> str:
    return "".join(rng.choice(LETTERS) + rng.choice(SIGNS) for _ in range(rng.randint(1, 4)))


def document(rng: random.Random, size: int = 100) -> list[str]:
    return [word(rng) for _ in range(size)]


def changed(rng: random.Random, words: Sequence[str], edits: int) -> list[str]:
    """Return the words with some replaced at places far from each other."""
    result = list(words)
    for place in range(edits):
        result[place * len(words) // edits + 2] = word(rng) + "नयाँ"
    return result


def jaccard(a: Sequence[str], b: Sequence[str]) -> float:
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def clusters_of(folder: Path, texts: Sequence[str], asked: DedupSettings = NEAR, size: int = 7) -> Clusters:
    found = Duplicates(folder, asked)
    names = []
    for first in range(0, len(texts), size):
        names.append(f"{first:06d}")
        found.add(names[-1], texts[first : first + size])
    return found.clusters(names)


def numpy_signatures(sets: Sequence[NDArray[np.uint64]], size: int) -> NDArray[np.uint32]:
    """The oracle: multiply-add hashing modulo 2^64, upper half, least value of each permutation."""
    rng = np.random.default_rng(1)
    factors = rng.integers(1, 1 << 63, size=(size, 1), dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    shifts = rng.integers(0, 1 << 63, size=(size, 1), dtype=np.uint64)
    rows = [((factors * held + shifts) >> np.uint64(32)).min(axis=1) for held in sets]
    return np.array(rows, dtype=np.uint32)


TEXT = st.text(
    st.one_of(
        st.sampled_from("कखरिी्ंॐ।॥ \n\u200d\u200c\u00ad०९09aÀßﬁIİıǅ,.़नऩẞΣσς"),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=30,
)


@given(st.lists(TEXT, max_size=6))
@settings(max_examples=300, deadline=None)
def test_words_are_those_of_the_match_key(texts: list[str]) -> None:
    hashes, offsets = word_hashes(texts)
    assert len(offsets) == len(texts) + 1 and offsets[-1] == len(hashes)
    known: dict[str, int] = {}
    for text, first, last in zip(texts, offsets, offsets[1:], strict=False):
        words = match_key(text).split()
        assert len(words) == last - first
        for spelled, value in zip(words, hashes[first:last].tolist(), strict=True):
            assert known.setdefault(spelled, value) == value
    assert len(set(known.values())) == len(known)


@given(TEXT, TEXT)
@settings(max_examples=300, deadline=None)
def test_exact_keys_are_equal_where_match_keys_are(one: str, other: str) -> None:
    for texts in ([one, other], [one, one + " ।"]):
        keys = sketch(texts, 5, 0, 8).exact
        assert (keys[0] == keys[1]).all() == (match_key(texts[0]) == match_key(texts[1]))
        assert [bool(key.any()) for key in keys] == [bool(match_key(text)) for text in texts]


@given(st.lists(st.lists(st.sampled_from(["क", "ख", "ग"]), max_size=9), max_size=6), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_shingles_are_runs_of_words(texts: list[list[str]], size: int) -> None:
    found, offsets = shingle_hashes(*word_hashes([" ".join(words) for words in texts]), size)
    known: dict[tuple[str, ...], int] = {}
    for words, first, last in zip(texts, offsets, offsets[1:], strict=False):
        runs = [tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))] if words else []
        assert last - first == len(runs)
        for run, value in zip(runs, found[first:last].tolist(), strict=True):
            assert known.setdefault(run, value) == value
    assert len(set(known.values())) == len(known)


def test_a_text_longer_than_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    texts = [" ".join(document(rng, size)) for size in (3, 200, 1, 40)]
    whole = sketch(texts, 5, 14, 8)
    for module in ("anukul.text.shingles.BATCH", "anukul.corpus.minhash.BATCH"):
        monkeypatch.setattr(module, 50)
    parts = sketch(texts, 5, 14, 8)
    assert (whole.exact == parts.exact).all()
    assert (whole.bands == parts.bands).all() and (whole.lanes == parts.lanes).all()


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9])
def test_rensa_finds_what_the_numpy_oracle_finds(similarity: float) -> None:
    """Sets of known Jaccard similarity: both share a band as often as theory says, and estimate it without bias."""
    rng = np.random.default_rng(0)
    pairs, union = 400, 180
    sets = []
    for _ in range(pairs):
        values = rng.integers(0, 1 << 63, size=union, dtype=np.uint64)
        common = round(similarity * union)
        half = common + (union - common) // 2
        sets += [values[:half], np.concatenate([values[:common], values[half:]])]
    bounds = np.cumsum([0, *map(len, sets)]).astype(np.int64)
    expected = 1 - (1 - similarity**8) ** 14
    error = np.sqrt(expected * (1 - expected) / pairs) + 1 / pairs
    shares = {}
    for name, found in (
        ("rensa", signatures(np.concatenate(sets), bounds, 112)),
        ("numpy", numpy_signatures(sets, 112)),
    ):
        estimate = (found[0::2] == found[1::2]).mean()
        assert abs(estimate - similarity) < 5 * 0.5 / np.sqrt(112 * pairs) + 0.5 / union, name
        keys = band_keys(found, 14, 8)
        shares[name] = (keys[:, 0::2] == keys[:, 1::2]).any(axis=0).mean()
        assert abs(shares[name] - expected) < 4 * error, (name, shares[name], expected)
    assert abs(shares["rensa"] - shares["numpy"]) < 5 * error


def mixture() -> tuple[list[str], list[int]]:
    """Texts, and which planted cluster each is of: copies with 0 to 8 changed words, strangers, and their halves."""
    rng = random.Random(11)
    texts: list[tuple[str, int]] = []
    for cluster in range(40):
        words = document(rng)
        texts.append((" ".join(words) + "।", cluster))
        if cluster % 4 == 0:
            texts.append(("  ".join(words) + " ।", cluster))
        if cluster % 4 < 2:
            texts += [(" ".join(changed(rng, words, edits)), cluster) for edits in (1, 2)]
        if cluster % 4 == 3:  # half of it with another half: similarity 1/3
            texts.append((" ".join(words[:50] + document(rng, 50)), 100 + cluster))
    rng.shuffle(texts)
    return [text for text, _ in texts], [cluster for _, cluster in texts]


def test_planted_clusters_are_found(tmp_path: Path) -> None:
    texts, planted = mixture()
    found = clusters_of(tmp_path, texts)
    expected = [planted.index(cluster) for cluster in planted]
    assert found.first.tolist() == expected
    keys = [match_key(text) for text in texts]
    assert found.exact.tolist() == [keys.index(key) != place for place, key in enumerate(keys)]
    assert found.kept.sum() == len(set(planted))
    assert found.sizes().tolist() == [planted.count(cluster) for cluster in planted]
    for place, first in enumerate(expected):
        true = jaccard(keys[place].split(), keys[first].split())
        assert abs(float(found.similarity[place]) - true) < 0.2
        assert (true == 1.0) == (found.similarity[place] == 1.0)


def test_clusters_are_those_of_every_pair_compared(tmp_path: Path) -> None:
    """Brute force over all pairs: those that share a band and pass the check, joined."""
    rng = random.Random(5)
    texts = []
    for _ in range(40):
        words = document(rng, 100)
        texts += [" ".join(changed(rng, words, edits)) for edits in (1, 2, 3)]
    found = sketch(texts, 5, 14, 8)
    first = list(range(len(texts)))
    joined = 0
    for a, b in combinations(range(len(texts)), 2):
        equal = int((found.lanes[a] == found.lanes[b]).sum())
        if (found.bands[:, a] == found.bands[:, b]).any() and equal - 8 >= 0.7 * 104:
            joined += 1
            low, high = sorted((first[a], first[b]))
            first = [low if label == high else label for label in first]
    assert joined > 20
    assert clusters_of(tmp_path, texts, DedupSettings(min_similarity=0.7)).first.tolist() == first


def test_the_check_of_candidates_raises_precision(tmp_path: Path) -> None:
    """Pairs of similarity .5 share a band in one of 20 cases; hardly one of these passes the check."""
    rng = random.Random(8)
    texts = []
    for _ in range(300):
        words = document(rng, 140)
        texts += [" ".join(words), " ".join(changed(rng, words, 9))]
    true = [jaccard(a.split(), b.split()) for a, b in zip(texts[::2], texts[1::2], strict=True)]
    assert 0.48 < np.mean(true) < 0.52
    unchecked = clusters_of(tmp_path / "a", texts, DedupSettings(min_similarity=0.0), 100)
    checked = clusters_of(tmp_path / "b", texts, NEAR, 100)
    assert (~unchecked.kept).sum() >= 8
    assert (~checked.kept).sum() <= 2


@pytest.mark.parametrize("sorted_at_once", [dedup.SORTED, 16])
def test_shards_parts_and_order_of_work_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sorted_at_once: int
) -> None:
    texts, _ = mixture()
    whole = clusters_of(tmp_path / "whole", texts, size=1000)
    monkeypatch.setattr(dedup, "SORTED", sorted_at_once)
    monkeypatch.setattr(dedup, "COMPARED", 3)
    monkeypatch.setattr(dedup, "PER_SHARD", 0)
    found = Duplicates(tmp_path / "shards", NEAR)
    shards = {f"{first:03d}": texts[first : first + 9] for first in range(0, len(texts), 9)}
    shards["999"] = []
    for name in reversed(shards):
        found.add(name, shards[name])
    again = found.clusters(list(shards))
    assert again.first.tolist() == whole.first.tolist()
    assert again.exact.tolist() == whole.exact.tolist()
    assert again.similarity.tolist() == whole.similarity.tolist()


def test_more_shards_than_files_may_be_open(tmp_path: Path) -> None:
    texts, planted = mixture()
    copies = [f"{text} ।" for text in texts[:20]]
    found = Duplicates(tmp_path, NEAR)
    names = [f"{number:03d}" for number in range(len(texts) + len(copies))]
    for name, text in zip(names, [*texts, *copies], strict=True):
        found.add(name, [text])
    assert len(names) > 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        clusters = found.clusters(names)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert clusters.first.tolist() == [planted.index(cluster) for cluster in [*planted, *planted[:20]]]


def test_a_shard_that_stands_is_not_made_again(tmp_path: Path) -> None:
    found = Duplicates(tmp_path, NEAR)
    (tmp_path / ".a.tmp").mkdir()  # left by a kill
    (tmp_path / ".a.tmp" / "exact.npy").write_bytes(b"half")
    assert not found.has("a")
    found.add("a", ["एक दुई"])
    stamp = (tmp_path / "a" / "exact.npy").stat().st_mtime_ns
    found.add("a", ["other"])
    assert (tmp_path / "a" / "exact.npy").stat().st_mtime_ns == stamp
    assert not (tmp_path / ".a.tmp").exists()


def test_texts_without_words_are_no_copies(tmp_path: Path) -> None:
    assert clusters_of(tmp_path, ["।", "—", "", "।"]).kept.all()
    assert len(Duplicates(tmp_path, NEAR).clusters([]).first) == 0


def test_exact_alone(tmp_path: Path) -> None:
    texts = ["उनले काम गर्‍यो ।", "उनले काम गर्यो।", "उनले काम गर्छ।", "सन् २०२४", "सन् 2024!"]
    found = clusters_of(tmp_path, texts, EXACT)
    assert found.first.tolist() == [0, 0, 2, 3, 3]
    assert found.exact.tolist() == [False, True, False, False, True]
    assert found.similarity.tolist() == [1.0] * 5


def test_an_exact_copy_of_a_near_copy_is_in_its_cluster(tmp_path: Path) -> None:
    rng = random.Random(2)
    words = document(rng, 200)
    near = " ".join(changed(rng, words, 1))
    found = clusters_of(tmp_path, ["अर्को", " ".join(words), near, near + " ।"])
    assert found.first.tolist() == [0, 1, 1, 1]
    assert found.exact.tolist() == [False, False, False, True]
    assert found.similarity[2] == found.similarity[3] < 1.0


def test_texts_that_are_not_used_are_nobodys_first(tmp_path: Path) -> None:
    """Paragraphs of a document that goes as a duplicate: what stands in them must stay elsewhere."""
    rng = random.Random(4)
    one, two = (" ".join(document(rng, 40)) for _ in range(2))
    found = Duplicates(tmp_path, NEAR)
    found.add("a", [one, two, one])
    found.add("b", [one + " ।", two])
    used = np.array([False, True, True, True, False])
    assert found.clusters(["a", "b"], used).first.tolist() == [0, 1, 2, 2, 4]


@pytest.mark.real
def test_real_text_holds_the_copies_that_all_pairs_show(real_data: Path, tmp_path: Path) -> None:
    """Against the true Jaccard similarity of all pairs of 4,700 lines and articles."""
    texts = [
        line
        for name in ("parallel/flores200/npi_Deva.devtest", "parallel/floresv1/wikipedia.dev.ne-en.ne")
        for line in (real_data / name).read_text(encoding="utf-8").splitlines()
    ]
    texts += (real_data / "parallel/tico19/tico19-test.nep").read_text(encoding="utf-8").splitlines()[:1000]
    for path in sorted((real_data / "mono/ekbana").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            texts += [row["text"] for row in csv.DictReader(file)]
    found = clusters_of(tmp_path, texts, size=1000)
    index: dict[int, list[int]] = {}
    hashes, offsets = shingle_hashes(*word_hashes(texts), 5)
    sets = [set(hashes[a:b].tolist()) for a, b in pairwise(offsets)]
    for place, held in enumerate(sets):
        for value in held:
            index.setdefault(value, []).append(place)
    candidates = {pair for places in index.values() for pair in combinations(places, 2)}
    similar = {(a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in candidates}
    sure = [pair for pair, value in similar.items() if value >= 0.9]
    assert len(sure) >= 10
    assert all(found.first[a] == found.first[b] for a, b in sure)
    for place in np.flatnonzero(~found.kept).tolist():
        members = np.flatnonzero(found.first == found.first[place]).tolist()
        best = max(similar.get((min(place, m), max(place, m)), 0.0) for m in members if m != place)
        assert best >= 0.55, texts[place]
