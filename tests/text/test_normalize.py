import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anukul.languages import load
from anukul.text.keys import fold_digits, hash_key, match_key, numbers
from anukul.text.normalize import DEVANAGARI_SPELLINGS, RULES, SCRIPT_RULES, normalize
from anukul.text.words import script_share, words

NEPALI = load("npi_Deva")
ENGLISH = load("eng_Latn")
# What the rules look at, so that random text meets them: signs, joiners, entities, tags, white space, mojibake.
PIECES = st.sampled_from(
    [
        *"नर्काअएएेआेािँं़।a<>&;# \t\n\r\v\u200b\u200c\u200d\u00ad\ufeff\u200e\u2028\u00a0\x07\x1b\x85क़",
        *["र्", "गर्‍यो", "र्इ", "&amp;", "&lt;", "b>", "&#2344;", "<p>", "</div>", "<!--", "-->", "<script>"],
        *[
            "</script>",
            "à¤¨à¥‡",
            "Ã©",
            "â€™",
            "é",
            "e\u0301",
            "ا\u200cب",
            "👩\u200d🌾",
            "ก\u200bข",
            "१२३",
            "lt;",
        ],
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)

CASES = {
    "mojibake": ("नेपाल राम्रो छ".encode().decode("latin-1"), "नेपाल राम्रो छ"),
    "byte_order_mark": ("\ufeffनेपाल", "नेपाल"),
    "html": ("<p>नेपाल &amp; <b>भारत</b></p><script>alert(1)</script>", "नेपाल & भारत"),
    "control": ("ने\x07पा\x00ल", "नेपाल"),
    "zero_width": ("ने\u200bपा\u200cल \u00adहो", "नेपाल हो"),
    "nfc": ("cafe\u0301", "café"),
    "white_space": ("  नेपाल \u00a0\t भारत\r\n\r\n चीन ", "नेपाल भारत\nचीन"),
    "misspelling": ("अामा र एेना", "आमा र ऐना"),
}


@pytest.mark.parametrize("rule", list(RULES) + list(SCRIPT_RULES["Devanagari"]))
def test_every_rule_repairs_its_fault_and_says_so(rule: str) -> None:
    text, expected = CASES[rule]
    result, changed = normalize(text, NEPALI)
    assert result == expected
    assert rule in changed
    assert normalize(expected, NEPALI) == (expected, [])


@pytest.mark.parametrize(
    "text",
    [
        "उनले काम गर्‍यो।",  # eyelash ra: ZWJ after र्
        "श्रीमान्‌को",  # ZWNJ after virama
        "क्‍ष",  # ZWJ keeps the half form
        "हाँ, काठमाडौंमा छन् ।",  # chandrabindu and anusvara, spaced danda
        "छन्।",
    ],
)
def test_devanagari_that_means_something_stays(text: str) -> None:
    assert normalize(text, NEPALI) == (unicodedata.normalize("NFC", text), [])


@pytest.mark.parametrize(
    "text",
    [
        "if a < b and c > d, then AT&T & x<y>z",
        "می‌خواهم",  # Persian ZWNJ
        "שלום\u200f!",  # right-to-left mark beside Hebrew
        "👩‍🌾 works",  # emoji joined by ZWJ
        "ภาษา\u200bไทย",  # Thai word break
        "க்ஷ മലയാളം ശ്രീ",
        "Größe, naïve, Ærø, “quotes” – dash… I’m",
        "SÃO PAULO, não, à la carte",
    ],
)
def test_other_scripts_are_left_alone(text: str) -> None:
    assert normalize(text, NEPALI) == (text, [])
    assert normalize(text, ENGLISH) == (text, [])


def test_the_spelling_table_belongs_to_its_script() -> None:
    assert normalize("अामा", ENGLISH) == ("अामा", [])


@pytest.mark.parametrize(("wrong", "right"), DEVANAGARI_SPELLINGS.items())
def test_spelling_table(wrong: str, right: str) -> None:
    assert normalize(f"क{wrong}ल", NEPALI) == (f"क{right}ल", ["misspelling"])


def test_doubled_invisible_sign() -> None:
    assert normalize("संंस्कार", NEPALI) == ("संस्कार", ["misspelling"])
    assert normalize("हाँ", NEPALI)[0] != normalize("हां", NEPALI)[0]


def test_windows_mojibake_too() -> None:
    seen = "“नेपाल”".encode().decode("sloppy-windows-1252")
    assert normalize(seen, NEPALI) == ("“नेपाल”", ["mojibake"])


def test_nested_entities_come_out() -> None:
    assert normalize("&amp;amp;lt;b&amp;gt;x", NEPALI)[0] == "x"


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("&amp;#x200b;<b>")
@example("र\u094d\u200d\u200d\u200c")
@example("à¤\u200bà¤¨")
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    for language in (NEPALI, ENGLISH):
        once, _ = normalize(text, language)
        assert normalize(once, language) == (once, [])


def test_words_keep_their_vowel_signs() -> None:
    assert words("रामले गर्‍यो, के २ पटक? Ok-fine।") == ["रामले", "गर्‍यो", "के", "२", "पटक", "Ok", "fine"]


def test_script_share() -> None:
    assert script_share("नेपाल", "Devanagari") == 1.0
    assert script_share("कख ab १२ ।", "Devanagari") == 0.5
    assert script_share("१२ ।", "Devanagari") == 0.0


def test_match_key_folds_what_a_reader_would_not_see() -> None:
    assert match_key("उनले गर्‍यो ।") == match_key("उनले  गर्यो।") == "उनले गर्यो"
    assert match_key("सन् २०२४, Nepal!") == match_key("सन्‌ 2024 nepal")
    assert match_key("हाँ") != match_key("हां")
    assert hash_key("क", "ख") != hash_key("ख", "क")
    assert hash_key("क।") == hash_key("क")


@settings(max_examples=200, deadline=None)
@given(TEXTS)
def test_a_key_is_its_own_key(text: str) -> None:
    key = match_key(text)
    assert match_key(key) == key


def test_numbers_agree_across_digits() -> None:
    assert fold_digits("२०२४ और 7") == "2024 और 7"
    assert numbers("१,२०,००० र ०७ जना, ३.५") == ["120000", "7", "3", "5"]
    assert numbers("कुनै छैन") == []
