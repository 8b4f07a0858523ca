import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.languages import load
from anukul.text import measure as module
from anukul.text.measure import Meter, measure, menu_words, meter, word_count
from anukul.text.words import script_share, words

NEPALI = load("npi_Deva")
PIECES = st.sampled_from(
    [*" \n\t।,-.()a1१रछ", "छ", "र", "रामले", "है", "गर्‍यो", "Nepal", "को", "सेयर", "२०७२", "…", "\x1f", "\u200d"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_counts_are_those_of_the_words(text: str) -> None:
    found = words(text)
    known = measure(text, NEPALI)
    assert known.words == len(found) == word_count(meter("npi_Deva").pack(text))
    assert known.characters == sum(map(len, found))
    assert known.without_letter == sum(1 for word in found if not regex.search(r"\p{L}", word))
    assert known.letters == len(regex.findall(r"\p{L}|\p{M}", text))
    assert known.script_share == script_share(text, "Devanagari")
    assert known.stop_words == sum(1 for word in found if word in NEPALI.quality.stop_words)


def test_evidence_counts_function_words_and_endings() -> None:
    known = measure("राम घर गयो र सीता विद्यालयमा है", NEPALI)
    assert len(known.evidence) == 1 + len(NEPALI.confusables)
    assert known.evidence[0] == 2.5  # गयो, र; the ending of विद्यालयमा
    assert known.evidence[1] == 1.0  # है is Hindi


def test_counts_of_lines_add_up() -> None:
    own = meter("npi_Deva")
    one, two = "राम घर गयो।", "फेसबुकमा सेयर गर्नुहोस्"
    assert own.pack(f"{one}\n{two}") == own.pack(one) + own.pack(two)
    assert menu_words(own.pack(two)) > 0 == menu_words(own.pack(one))


def test_the_tokens_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKENS", 10)
    own = Meter(NEPALI)
    text = " ".join(f"शब्द{number}" for number in range(35))
    assert own.unpack(own.pack(text)).words == 35
    assert len(own) <= 10
    assert own.unpack(own.pack("क" * 65)).words == 1 and "क" * 65 not in own
