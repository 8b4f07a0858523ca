"""A fastText model written byte by byte, read by the real fasttext-predict; GlotLID itself was never run here."""

import struct
from collections.abc import Mapping
from pathlib import Path

import pytest

from anukul.config import CorpusSettings, QualitySettings, TextInput
from anukul.corpus.rules import assess, judge
from anukul.errors import UserError
from anukul.languages import load
from anukul.text.glotlid import score
from anukul.text.identify import identify

NEPALI = load("npi_Deva")
LANGUAGES = ("npi_Deva", "hin_Deva", "awa_Deva")  # Awadhi has no YAML here
NEPALI_TEXT = "उनले काम गरेको छ र त्यो धेरै राम्रो छ भने पनि मान्छे खुसी छन्"
MAGIC, VERSION, SOFTMAX, SUPERVISED = 793712314, 12, 3, 3


def write_model(path: Path, words: Mapping[str, int], sharpness: float) -> str:
    """Write a supervised fastText model: each word speaks for one of LANGUAGES. Layout: fastText 0.9.2, saveModel."""
    size = len(LANGUAGES)
    parts = [struct.pack("<ii", MAGIC, VERSION)]
    arguments = (size, 5, 1, 1, 5, 1, SOFTMAX, SUPERVISED, 0, 0, 0, 100)
    parts.append(struct.pack("<12id", *arguments, 1e-4))
    entries = [*((word, 0) for word in words), *((f"__label__{code}", 1) for code in LANGUAGES)]
    parts.append(struct.pack("<iiiqq", len(entries), len(words), size, len(words), -1))
    for text, kind in entries:
        parts.append(text.encode() + b"\0" + struct.pack("<qb", 1, kind))
    rows = [[float(place == label) for place in range(size)] for label in words.values()]
    output = [[sharpness * (place == label) for place in range(size)] for label in range(size)]
    for matrix in (rows, output):
        parts.append(struct.pack("<?qq", False, len(matrix), size))
        parts += [struct.pack(f"<{size}f", *row) for row in matrix]
    path.write_bytes(b"".join(parts))
    return str(path)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model that knows छ र for Nepali, है और for Hindi, and अहै for Awadhi."""
    return write_model(tmp_path / "model.bin", {"छ": 0, "र": 0, "है": 1, "और": 1, "अहै": 2}, 8.0)


def test_labels_are_the_codes_of_the_project(model: str) -> None:
    label, best, own = score("उनले काम गरेको छ र\nछ", "npi_Deva", model)
    assert label == "npi_Deva" and best == own > 0.99
    label, best, own = score("वह अच्छा है और", "npi_Deva", model)
    assert label == "hin_Deva" and best > 0.99 > 0.01 > own


def test_the_model_decides_from_ten_words_on(model: str) -> None:
    text = "ऊ लोगन घर मा अहै अउर हमार गाँव बहुत नीक अहै छ"
    verdict = identify(text, NEPALI, model)
    assert (verdict.language, verdict.score is not None) == ("awa_Deva", True)
    assert verdict.detail.startswith("looks like awa_Deva (")
    short = identify("गाँव अहै", NEPALI, model)
    assert (short.language, short.score) == ("npi_Deva", None)


def test_a_document_of_which_it_is_unsure_is_dropped(model: str) -> None:
    settings = CorpusSettings(inputs=(TextInput(path="unused"),), glotlid=model)
    assert judge(NEPALI_TEXT, NEPALI, settings) is None
    unsure = NEPALI_TEXT + " और है"
    drop = judge(unsure, NEPALI, settings)
    assert drop is not None and drop.rule == "language_score"
    assert drop.detail.startswith("GlotLID gives npi_Deva 0.") and drop.detail.endswith("less than 0.896")
    lenient = settings.model_copy(update={"quality": QualitySettings(min_language_score=0.5)})
    assert judge(unsure, NEPALI, lenient) is None


def test_a_paragraph_that_it_knows_is_cut(model: str) -> None:
    settings = CorpusSettings(inputs=(TextInput(path="unused"),), glotlid=model)
    awadhi = "ऊ लोगन घर मा अहै अउर हमार गाँव बहुत नीक अहै"
    result = assess(f"{NEPALI_TEXT}\n{awadhi}\n{NEPALI_TEXT} र", NEPALI, settings)
    assert result.drop is None and result.text == f"{NEPALI_TEXT}\n{NEPALI_TEXT} र"
    assert [(cut.text, cut.drop.looks_like) for cut in result.cuts] == [(awadhi, "awa_Deva")]


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file; `corpus.glotlid` is the model\.bin"):
        score("छ", "npi_Deva", str(tmp_path / "absent.bin"))
    (tmp_path / "wrong.bin").write_bytes(b"not a model at all")
    with pytest.raises(UserError, match=r"wrong\.bin: not a fastText model"):
        score("छ", "npi_Deva", str(tmp_path / "wrong.bin"))
