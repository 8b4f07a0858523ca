import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.languages import load
from anukul.text.sentences import split_sentences

NEPALI = load("npi_Deva")
ENGLISH = load("eng_Latn")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("राम घर गयो। सीता आइन् ।", ["राम घर गयो।", "सीता आइन् ।"]),
        ("के हो? हो! ठीक छ", ["के हो?", "हो!", "ठीक छ"]),
        ("उनले भने, “जाऊ।” राम गयो।", ["उनले भने, “जाऊ।”", "राम गयो।"]),
        ("डा. रामले ३.५ किलो दिए। प्रा. लि. को काम भयो।", ["डा. रामले ३.५ किलो दिए।", "प्रा. लि. को काम भयो।"]),
        ("वि.पि. कोइराला आए। बि. पी. पनि आए।", ["वि.पि. कोइराला आए।", "बि. पी. पनि आए।"]),
        (
            "धेरै गोराहरु गरिब थिए. उनीहरू फरक छ. अर्को वाक्य.",
            ["धेरै गोराहरु गरिब थिए.", "उनीहरू फरक छ.", "अर्को वाक्य."],
        ),
        ("१. पहिलो काम। २. दोस्रो काम।", ["१. पहिलो काम।", "२. दोस्रो काम।"]),
        ("पहिलो हरफ\nदोस्रो हरफ", ["पहिलो हरफ", "दोस्रो हरफ"]),
        ("के?! हो...", ["के?!", "हो..."]),
        ("अन्त्य॥", ["अन्त्य॥"]),
        ("रु. ५०० मा पाइन्छ। वि. सं. २०७२ मा भयो।", ["रु. ५०० मा पाइन्छ।", "वि. सं. २०७२ मा भयो।"]),
        (
            "बिहान ५.३० बजे ३.५ प्रतिशत घट्यो. प्रा.डा. राम आए।",
            ["बिहान ५.३० बजे ३.५ प्रतिशत घट्यो.", "प्रा.डा. राम आए।"],
        ),
        ("“हो।” “हैन।” (त्यसै।) अर्को।", ["“हो।”", "“हैन।”", "(त्यसै।)", "अर्को।"]),
        ("उनले '१.५' भने. ई.पू. ५०० मा।", ["उनले '१.५' भने.", "ई.पू. ५०० मा।"]),
        ("", []),
        ('उनले "जिउ दुख्यो । " भनेर भने । राम गयो।', ['उनले "जिउ दुख्यो । " भनेर भने ।', "राम गयो।"]),
        ('"राम गयो। सीता आइन् । " हरि हाँस्यो।', ['"राम गयो।', 'सीता आइन् । "', "हरि हाँस्यो।"]),
        ('राम गयो । "जाऊ" भन्यो।', ["राम गयो ।", '"जाऊ" भन्यो।']),
        ("(त्यसै । ) “हो । ” अर्को।", ["(त्यसै । )", "“हो । ”", "अर्को।"]),
        ("“जाऊ।” भनेर राम गयो। सीता आइन्।", ["“जाऊ।” भनेर राम गयो।", "सीता आइन्।"]),
        ("‘को हो?’ लाई सोध। भने पनि हुन्छ।", ["‘को हो?’ लाई सोध।", "भने पनि हुन्छ।"]),
    ],
)
def test_nepali(text: str, expected: list[str]) -> None:
    assert split_sentences(text, NEPALI) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith paid $3.50. He left.", ["Dr. Smith paid $3.50.", "He left."]),
        ("J. K. Rowling wrote it. So did I. Really?", ["J. K. Rowling wrote it.", "So did I.", "Really?"]),
        ("It is 5 p.m. now. The U.S. won.", ["It is 5 p.m. now.", "The U.S. won."]),
        ('He said "no." Then he went.', ['He said "no."', "Then he went."]),
        ("Wait... what? Yes.", ["Wait...", "what?", "Yes."]),
        ('"Really?" he asked. "Yes!" she said.', ['"Really?" he asked.', '"Yes!" she said.']),
        ('"Really?" He asked.', ['"Really?"', "He asked."]),
        ('He said "no. " Then "he" went.', ['He said "no. "', 'Then "he" went.']),
        ('He went. "Then" she went.', ["He went.", '"Then" she went.']),
        (
            "Pi is 3.14, e 2.718. See www.example.com now.",
            ["Pi is 3.14, e 2.718.", "See www.example.com now."],
        ),
    ],
)
def test_english(text: str, expected: list[str]) -> None:
    assert split_sentences(text, ENGLISH) == expected


def test_the_danda_ends_no_english_sentence() -> None:
    assert split_sentences("one । two. three", ENGLISH) == ["one । two.", "three"]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="कि्र।॥?!. \n\"')”aA1१.", max_size=40))
def test_only_white_space_is_lost(text: str) -> None:
    parts = split_sentences(text, NEPALI)
    assert all(part and part == part.strip() for part in parts)
    assert regex.sub(r"\s+", "", "".join(parts)) == regex.sub(r"\s+", "", text)
