"""Measures of one text: Nepali and not Hindi, script, repetition, loops."""

import json
from collections import Counter
from importlib import resources

import pytest

from anukul import languages
from anukul.evaluate.generation.fidelity import NO_LETTERS, OTHER_SCRIPT, ends_in_loop, measure, repetition

NEPALI = languages.load("npi_Deva")


@pytest.mark.parametrize(
    ("text", "identified"),
    [
        ("हामी बिहान बजार गयौँ र तरकारी किनेर घर फर्कियौँ।", "npi_Deva"),
        ("हम सुबह बाज़ार गए और सब्ज़ी खरीदकर घर लौट आए, लेकिन वह नहीं आया।", "hin_Deva"),
        ("We went to the market in the morning.", OTHER_SCRIPT),
        ("hami bajar gayau र ma ghar farkiye", OTHER_SCRIPT),
        ("१२३ … ।।", NO_LETTERS),
        ("", NO_LETTERS),
    ],
)
def test_the_language_is_told(text: str, identified: str) -> None:
    found = measure(text, NEPALI)
    assert found.identified == identified
    assert found.language == float(identified == "npi_Deva")


def test_gibberish_in_the_right_letters_lacks_function_words() -> None:
    found = measure("कखग घङच छजझ टठड", NEPALI)
    assert (found.language, found.script, found.function_words) == (1.0, 1.0, 0.0)
    assert measure("म पनि र तर हामी", NEPALI).function_words == 1.0
    assert measure("", NEPALI).function_words == 0.0


def test_repetition_counts_word_four_grams() -> None:
    assert repetition(list("abc")) == 0
    assert repetition(list("abcdef")) == 0
    # nine 4-grams of a b c d, four of them distinct
    assert repetition(list("abcdabcdabcd")) == pytest.approx(1 - 4 / 9)
    assert measure("राम आयो। " * 6, NEPALI).repetition == pytest.approx(1 - 2 / 9)


@pytest.mark.parametrize(
    ("text", "loop"),
    [
        ("", False),
        ("क" * 11, False),
        ("क" * 12, True),
        ("सुरुमा राम्रो थियो। " + "राम आयो। " * 3, True),
        ("सुरुमा राम्रो थियो। " + "राम आयो। " * 3 + "राम आ", True),
        ("राम आयो। राम आयो। सीता गइन्।", False),
        ("राम आयो। " * 5 + "अन्त्यमा सीता पनि आइन्।", False),
        ("अबअबअबअबअबअब", True),
        ("हा हा हा", False),
    ],
)
def test_a_loop_at_the_end_is_found(text: str, loop: bool) -> None:
    assert ends_in_loop(text) is loop


def test_the_shipped_prompts_are_natural_by_every_measure() -> None:
    text = (
        resources.files("anukul")
        .joinpath("evaluate/generation/prompts/npi_Deva.jsonl")
        .read_text(encoding="utf-8")
    )
    rows = [json.loads(line) for line in text.splitlines()]
    assert len(rows) == 60
    assert all(list(row) == ["id", "topic", "length", "prompt"] for row in rows)
    assert len({row["id"] for row in rows}) == len({row["prompt"] for row in rows}) == 60
    assert Counter(row["length"] for row in rows) == {"short": 20, "medium": 20, "long": 20}
    assert set(Counter(row["topic"] for row in rows).values()) == {3}
    for row in rows:
        found = measure(row["prompt"], NEPALI)
        assert (found.language, found.script, found.repetition, found.loop) == (1, 1, 0, 0), row["id"]
        least, most = {"short": (3, 7), "medium": (7, 15), "long": (20, 35)}[row["length"]]
        assert least <= found.words <= most, row["id"]
        # a beginning: it breaks off in the middle of a sentence, and its sentences end with the danda
        assert row["prompt"][-1] not in "।?! " and "|" not in row["prompt"] and "." not in row["prompt"]
        assert (
            row["prompt"].count("।") >= {"short": 0, "medium": 1, "long": 2}[row["length"]]
            or "?" in row["prompt"]
        )
