from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from anukul.cli import app
from anukul.corpus.estimate import MEANING, as_yaml, estimate, read_sample, script_of
from anukul.errors import UserError
from anukul.languages import Quality, load

NEPALI = load("npi_Deva")
LINES = [
    f"{name}ले {place}मा {thing} किन्यो र {verb} पनि छ।"
    for name in ("रामकुमार", "सीता", "हरि", "गीता", "मोहन")
    for place in ("पोखरा", "बजार", "गाउँ", "काठमाडौं")
    for thing in ("किताब", "कलम", "चामल", "तरकारी", "लुगा")
    for verb in ("घर गएको", "खुसी भएको")
]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "trusted.txt"
    path.write_text("\n".join(LINES) + "\n", encoding="utf-8")
    return path


def test_thresholds_are_quantiles_of_the_sample(sample: Path) -> None:
    found = estimate(read_sample(sample), NEPALI, 0.9)
    assert (found.documents, found.script) == (200, "Devanagari")
    assert found.words == sum(len(line.rstrip("।").split()) for line in LINES)
    assert found.texts == 200 // 12  # lines of 9 words reach 100 at the twelfth
    assert {word for word, _ in found.stop_words[:4]} == {"किन्यो", "र", "पनि", "छ"}
    for thresholds in found.thresholds.values():
        assert all(item.dropped <= 0.2 for item in thresholds)
    assert found.looks_like == {"npi_Deva": 200}
    narrow, wide = estimate(LINES, NEPALI, 0.6), estimate(LINES, NEPALI, 0.999)
    assert narrow.thresholds["max_word_length"][0].value <= wide.thresholds["max_word_length"][0].value
    assert (
        narrow.thresholds["max_word_length"][0].dropped >= wide.thresholds["max_word_length"][0].dropped == 0
    )


def test_the_yaml_is_a_quality_section(sample: Path) -> None:
    text = as_yaml(estimate(LINES, NEPALI), "trusted.txt", NEPALI)
    quality = Quality.model_validate(yaml.safe_load(text)["quality"])
    assert quality.language_score == NEPALI.quality.language_score
    assert "र" in quality.stop_words and quality.min_stop_words >= 1
    assert "drops 0 of 16" in text and "n = 16 texts" in text and "Few: 0.5% of 16 texts" in text
    assert "Its documents look like: npi_Deva 100.0%." in text and "ATTENTION" not in text
    assert all(f"  # {MEANING[key]}\n  {key}: " in text for key in MEANING)
    assert "now 3, which drops 0" in text and "now [0.114, 0.103, 0.091], which drops [" in text


def test_what_holds_now_is_measured_on_the_sample_too() -> None:
    found = estimate([f"{line} {'क ख ग घ ' * 5}" for line in LINES], NEPALI)
    shortest = found.thresholds["min_word_length"][0]
    assert (shortest.now, shortest.now_drops, shortest.dropped) == (3.0, 1.0, 0.0)
    words = found.thresholds["min_stop_words"][0]
    assert (words.now, words.now_drops) == (2, 0.0)


def test_repeated_documents_count_once() -> None:
    once, many = (
        estimate(LINES, NEPALI),
        estimate([*LINES, *(line.replace("।", " ।") for line in LINES)], NEPALI),
    )
    assert (many.documents, many.repeated) == (once.documents, 200) and many.thresholds == once.thresholds
    assert "200 more documents repeat the words of an earlier one" in as_yaml(many, "x", NEPALI)
    with pytest.raises(UserError, match="fewer than 100 words, repeated documents left out"):
        estimate(LINES[:1] * 100, NEPALI)


def test_a_sample_of_another_language_is_said_out_loud() -> None:
    text = as_yaml(estimate(LINES, load("mai_Deva")), "x", load("mai_Deva"))
    assert "Its documents look like: npi_Deva 100.0%." in text
    assert "ATTENTION: fewer than 90% look like mai_Deva" in text


def test_a_language_without_a_yaml_is_measured_by_its_script() -> None:
    text = "গ্রামের কৃষক তার জমিতে ধান রোপণ করেছে এবং তার মেয়ে প্রতিদিন সকালে স্কুলে যায়।"
    found = estimate([f"{text} {place}" for place in range(30)], None)
    assert (found.script, found.looks_like) == ("Bengali", {})
    quality = Quality.model_validate(yaml.safe_load(as_yaml(found, "x", None))["quality"])
    assert quality.max_top_ngrams[0] > 0.05
    assert script_of(["abc наш язык"]) == "Cyrillic"


def test_words_that_yaml_would_misread_are_quoted() -> None:
    found = estimate([f"no yes on off {place} null true word the" for place in range(60)], None)
    quality = Quality.model_validate(yaml.safe_load(as_yaml(found, "x", None))["quality"])
    assert {"no", "null", "true"} <= quality.stop_words


def test_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.txt: no text to estimate from"):
        read_sample(tmp_path / "empty.txt")
    with pytest.raises(UserError, match="fewer than 100 words"):
        estimate(["छ र पनि"], NEPALI)
    with pytest.raises(UserError, match=r"between 0\.5 and 1"):
        estimate(LINES, NEPALI, 1.5)
    with pytest.raises(UserError, match="no letters"):
        estimate(["१२ ३"], None)


def test_the_command(sample: Path) -> None:
    runner = CliRunner()
    result = runner.invoke(app, ["corpus", "--estimate", str(sample), "--language", "mai_Deva"])
    assert result.exit_code == 0
    assert result.output.startswith(f"# Proposed for mai_Deva.\n# Sample: {sample}, 200 documents, ")
    assert yaml.safe_load(result.output)["quality"]["language_score"] == 0.41
    unknown = runner.invoke(app, ["corpus", "--estimate", str(sample), "--language", "new_Deva"])
    assert "a language in Devanagari script" in unknown.output
    assert isinstance(runner.invoke(app, ["corpus"]).exception, UserError)
    assert isinstance(runner.invoke(app, ["corpus", "--language", "mai_Deva"]).exception, UserError)
