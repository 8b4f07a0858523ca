import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.config import SynthSettings
from anukul.languages import load
from anukul.synth.filters import copy_share, judge_pair, trigram_share

NEPALI = load("npi_Deva")
ENGLISH = load("eng_Latn")
SETTINGS = SynthSettings()


def rule(source: str, target: str, asked: SynthSettings = SETTINGS) -> str | None:
    reason = judge_pair(source, target, ENGLISH, NEPALI, asked)
    assert reason is None or reason[1]
    return reason[0] if reason else None


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("Ram ate rice.", "रामले भात खायो।", None),
        ("Yes, it certainly is.", "हो।", "length_ratio"),
        ("Yes, it is.", "हो।", None),  # too short for a ratio
        ("", "रामले भात खायो।", "empty_side"),
        ("Ram ate rice.", " । ", "empty_side"),
        ("Ram ate rice.", "Ram ate rice", "untranslated"),
        ("रामले भात खायो।", "रामले भात खायो ।", "untranslated"),
        ("Ram ate rice.", "Ram ate the rice.", "wrong_script"),
        ("रामले भात खायो।", "सीताले पनि खाइन्।", "wrong_script"),
        ("Ram ate food and went home.", "राम ने खाना खाया और घर गया।", "wrong_language"),
        ("Ram went.", "राम आज बिहान सबेरै उठेर आफ्नो घर गयो र भात खायो।", "length_ratio"),
        ("PCR, DNA, RNA", "माइक्रोसफ्टको PCR, DNA, RNA हो", "copied"),
        ("He said no", "उनले भने होइन होइन हो होइन होइन हो होइन होइन हो होइन होइन हो", "length_ratio"),
        ("There are 3 cows.", "त्यहाँ ३ गाई छन्।", None),
        ("There are 3 cows.", "त्यहाँ ४ गाई छन्।", "numbers_differ"),
        ("There are 3 cows and 5 goats.", "त्यहाँ ३ गाई र पाँच बाख्रा छन्।", None),
        ("There are three cows.", "त्यहाँ ३ गाई छन्।", None),
        ("It cost 1,200 rupees.", "यसको मूल्य १,२०० रुपैयाँ थियो।", None),
    ],
)
def test_rules(source: str, target: str, expected: str | None) -> None:
    assert rule(source, target) == expected


def test_a_loop_is_a_repetition() -> None:
    loop = "उनले भने " + "म घर जान्छु " * 5
    assert rule("He said that he would go home again and again", loop) == "repetition"
    three = (
        "Creator Brahma is contained in Aakar, Bishnu is contained in Aukar, and Rudra is contained in Makar."
    )
    assert trigram_share(three) == 0.0
    assert rule("He went home " * 6, "ऊ आज बिहान सबेरै उठेर आफ्नो घर गयो र भात खायो।") == "repetition"


def test_thresholds_are_those_of_the_settings() -> None:
    loose = SynthSettings(max_length_ratio=50, max_copy_share=1.0)
    assert rule("Yes, it certainly is.", "हो।", loose) is None
    assert rule("PCR, DNA, RNA", "माइक्रोसफ्टको PCR, DNA, RNA हो", loose) is None


def test_copy_share_counts_target_words() -> None:
    assert copy_share("Ram ate rice", "RAM भात 12 खायो") == pytest.approx(1 / 3)
    assert copy_share("12", "१२") == 0.0
    assert trigram_share("क ख ग " * 4) == 1.0
    assert trigram_share("क ख ग घ ङ च छ ज झ ञ ट ठ ड") == 0.0
    assert trigram_share("क ख ग " * 3) == 0.0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_shares_are_shares(source: str, target: str) -> None:
    assert 0 <= copy_share(source, target) <= 1
    assert 0 <= trigram_share(source) <= 1
    assert copy_share(source, source) in (0.0, 1.0)
