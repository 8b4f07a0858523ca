"""Every rule of quality, against texts that break it and texts that do not, and against a slow oracle."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anukul.config import CorpusSettings, QualitySettings, TextInput
from anukul.corpus.confusion import confusion, confusion_of
from anukul.corpus.quality import (
    DUPLICATE,
    RULES,
    TOP,
    boilerplate,
    duplicate_lines,
    limits,
    mojibake_share,
    ngram_shares,
)
from anukul.corpus.rules import assess, judge
from anukul.languages import available, load
from anukul.text.measure import meter
from anukul.text.normalize import normalize
from anukul.text.words import words

NEPALI = load("npi_Deva")
HINDI_PARAGRAPH = "बच्चे नदी के किनारे खेल रहे हैं और उनके माता पिता घर में हैं।"
NEPALI_PARAGRAPHS = [
    "किसानले आफ्नो खेतमा मकै रोपेको छ र उसकी छोरी विद्यालय जान्छे।",
    "काठमाडौं उपत्यकामा आज बिहानैदेखि पानी परेको छ भने पहाडमा हिउँ परेको छ।",
    "उनले भने, अर्को वर्ष पनि यो काम गर्नुपर्छ र सबैले सहयोग गर्नुपर्छ।",
]


def corpus(**changes: Any) -> CorpusSettings:
    """Settings with other rules of quality."""
    return CorpusSettings(inputs=(TextInput(path="unused"),), quality=QualitySettings(**changes))


def long_text(number: int = 150) -> str:
    """A text of ordinary words, none of which stands beside the same one twice, and some stop words."""
    stems = ["गाउँ", "शहर", "नदी", "पहाड", "किसान", "शिक्षक", "विद्यालय", "बजार", "जंगल", "सरकार", "समाज"]
    endings = ["मा", "को", "ले", "लाई", "बाट", "सँग", "सम्म"]
    made = [f"{stems[place % 11]}{endings[place % 7]}" for place in range(77)]
    made = [*made, *(f"{stems[place % 11]}{endings[place % 6]}हरू" for place in range(66))][: number - 2]
    assert len(set(made)) == len(made)
    return " ".join([*made, "पनि", "छ।"])


BROKEN = {
    "mojibake": ("यो पा�ठ बि�ग्रेको �छ र यसमा �अक्षर छैनन्।", "broken characters"),
    "word_length": (" ".join(["क ख ग घ"] * 40), "mean word length 1.0 characters, outside 3.0 to 37.0"),
    "alphabetic_words": (long_text() + " २०७२" * 60, "of the words hold a letter, fewer than 0.824"),
    "stop_words": (long_text().replace("पनि छ।", ""), "0 stop words among 1"),
    "duplicate_lines": (
        "\n".join([long_text(), *["यो हरफ बारम्बार दोहोरिन्छ।", "अर्को हरफ पनि दोहोरिन्छ।"] * 3]),
        "of the lines repeat an earlier one, more than 0.155",
    ),
    "top_2_gram": (
        long_text().replace("ले ", "ले नेपाल सरकार ").replace("को ", "को नेपाल सरकार "),
        "most frequent 2-grams, more than 0.114: नेपाल सरकार",
    ),
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_drops_its_fault_and_can_be_left_out(rule: str) -> None:
    text, detail = BROKEN[rule]
    drop = judge(text, NEPALI, corpus())
    assert drop is not None and drop.rule == rule
    assert detail in drop.detail
    after = judge(text, NEPALI, corpus(skip=(rule,)))
    assert after is None or after.rule != rule


def test_good_text_is_kept() -> None:
    assert judge(long_text(), NEPALI, corpus()) is None


@pytest.mark.parametrize("n", [*TOP, *DUPLICATE])
def test_repetition_of_every_length(n: int) -> None:
    kind = "top" if n in TOP else "duplicate"
    others = tuple(f"{'top' if m in TOP else 'duplicate'}_{m}_gram" for m in (*TOP, *DUPLICATE) if m != n)
    phrase = " ".join(f"वाक्यांश{place}" for place in range(n)).translate(
        str.maketrans("0123456789", "अआइईउऊएऐओऔ")
    )
    parts = long_text(300 if n in DUPLICATE else 150).split(" ")
    text = " ".join(" ".join([*parts[start : start + 12], phrase]) for start in range(0, 140, 12))
    drop = judge(text + " पनि छ।", NEPALI, corpus(skip=others))
    assert drop is not None and drop.rule == f"{kind}_{n}_gram"
    assert phrase in drop.detail and f"{n}-grams" in drop.detail
    assert judge(long_text(), NEPALI, corpus(skip=others)) is None


def test_rules_are_all_tested() -> None:
    tested = {*BROKEN, *(f"top_{n}_gram" for n in TOP), *(f"duplicate_{n}_gram" for n in DUPLICATE)}
    assert tested == set(RULES)


@pytest.mark.parametrize("rule", [name for name in BROKEN if name != "mojibake"])
def test_short_texts_are_not_judged_by_rules_that_mean_nothing_for_them(rule: str) -> None:
    text, _ = BROKEN[rule]
    assert judge(text, NEPALI, corpus(from_words=10_000)) is None


def test_run_yaml_overrides_the_language() -> None:
    assert limits("npi_Deva", QualitySettings()).max_top_ngrams == (0.114, 0.103, 0.091)
    assert limits("npi_Deva", QualitySettings(max_top_ngrams=(0.3, 0.3, 0.3))).max_top_ngrams == (
        0.3,
        0.3,
        0.3,
    )
    assert judge(BROKEN["top_2_gram"][0], NEPALI, corpus(max_top_ngrams=(1.0, 1.0, 1.0))) is None
    none = corpus().model_copy(update={"quality": None})
    assert judge(BROKEN["word_length"][0], NEPALI, none) is None


def slow_shares(found: list[str], size: int) -> dict[int, float]:
    """datatrove's definitions, gram by gram; a gram that stands once is no repetition."""
    shares: dict[int, float] = {}
    for n in TOP:
        counts = Counter(" ".join(found[place : place + n]) for place in range(len(found) - n + 1))
        most = max(counts.values(), default=0)
        longest = max((len(gram) for gram, times in counts.items() if times == most), default=0)
        shares[n] = most * longest / size if most > 1 else 0.0
    for n in DUPLICATE:
        seen: set[tuple[str, ...]] = set()
        place = characters = 0
        while place < len(found) - n + 1:
            gram = tuple(found[place : place + n])
            if gram in seen:
                characters += len("".join(gram))
                place += n
            else:
                seen.add(gram)
                place += 1
        shares[n] = characters / size
    return shares


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(["क", "कख", "गघङ"]), max_size=60))
def test_ngram_shares_are_those_of_the_slow_definition(found: list[str]) -> None:
    size = max(1, len(" ".join(found)))
    assert {n: share for n, (share, _) in ngram_shares(found, size)} == pytest.approx(
        slow_shares(found, size)
    )


def test_duplicate_lines_leave_speakers_out() -> None:
    assert duplicate_lines("एक दुई तीन\nएक दुई तीन\nचार पाँच छ") == pytest.approx(1 / 3)
    assert duplicate_lines("केसीः\nएक दुई तीन\nकेसीः\nचार पाँच छ") == 0.0
    assert duplicate_lines("केसीः\nकेसीः") == duplicate_lines("केसीः") == 0.0


@pytest.mark.parametrize("text", ["à¤¨à¥‡à¤ªà¤¾à¤²", "ne�pal", "\ue123\ue124", "â€™s"])
def test_signs_of_mojibake(text: str) -> None:
    assert mojibake_share(text) > 0.1


@pytest.mark.parametrize("text", ["", "नेपाल", "déjà vu à la carte", "São Paulo", "“हो” — ‘छ’…"])
def test_accents_are_no_mojibake(text: str) -> None:
    assert mojibake_share(text) == 0.0


def phrase_in(line: str) -> str | None:
    return boilerplate(line, meter("npi_Deva").pack(line), NEPALI)


def test_boilerplate_is_a_line_that_is_mostly_a_phrase() -> None:
    assert phrase_in("फेसबुकमा सेयर गर्नुहोस्") == "फेसबुकमा सेयर"
    assert phrase_in("© २०७५ सर्वाधिकार सुरक्षित।") == "सर्वाधिकार सुरक्षित"
    assert phrase_in("Share on Facebook") == "share on facebook"
    assert phrase_in("We use cookies to improve your experience.") == "we use cookies"
    assert phrase_in("यो कृतिको सर्वाधिकार सुरक्षित गर्ने विषयमा हिजो संसदमा छलफल भयो।") is None
    assert phrase_in("इजाजतपत्र: CC0: सर्वाधिकार सुरक्षित छैन") is None
    assert phrase_in("कुकुर घरमा छ") is None


@pytest.mark.parametrize("code", available())
def test_every_phrase_of_every_language_is_found(code: str) -> None:
    language = load(code)
    assert len(language.boilerplate) > 10
    for phrase in language.boilerplate:
        assert boilerplate(phrase.capitalize(), meter(code).pack(phrase.capitalize()), language)


def test_boilerplate_lines_are_cut_and_a_page_of_nothing_else_is_dropped() -> None:
    text = f"गृहपृष्ठ\n{NEPALI_PARAGRAPHS[0]}\nफेसबुकमा सेयर गर्नुहोस्"
    result = assess(text, NEPALI, corpus())
    assert (result.text, result.drop, result.rules) == (NEPALI_PARAGRAPHS[0], None, ["boilerplate"])
    assert [cut.text for cut in result.cuts] == ["गृहपृष्ठ", "फेसबुकमा सेयर गर्नुहोस्"]
    assert assess(text, NEPALI, corpus(boilerplate=False)).text == text
    only = assess("गृहपृष्ठ\nहाम्रो बारेमा\nसम्पर्क गर्नुहोस्", NEPALI, corpus())
    assert only.drop is not None and only.drop.rule == "boilerplate" and only.cuts == []


def test_a_hindi_paragraph_is_cut_and_the_document_stays() -> None:
    text = "\n".join([NEPALI_PARAGRAPHS[0], HINDI_PARAGRAPH, *NEPALI_PARAGRAPHS[1:]])
    result = assess(text, NEPALI, corpus())
    assert result.drop is None and result.text == "\n".join(NEPALI_PARAGRAPHS)
    assert result.rules == ["foreign_paragraph"]
    assert [(cut.text, cut.drop.looks_like) for cut in result.cuts] == [(HINDI_PARAGRAPH, "hin_Deva")]
    assert result.languages == {"npi_Deva": 3, "hin_Deva": 1}
    assert assess(text, NEPALI, corpus(paragraphs=False)).text == text


def test_an_english_paragraph_is_cut_too() -> None:
    english = "The farmer planted maize in the field and his daughter went to school in the morning."
    result = assess("\n".join([*NEPALI_PARAGRAPHS, english]), NEPALI, corpus())
    assert result.text == "\n".join(NEPALI_PARAGRAPHS)
    assert result.languages == {"npi_Deva": 3, "another script": 1}


def test_a_document_mostly_in_hindi_is_dropped_whole() -> None:
    text = "\n".join([HINDI_PARAGRAPH, NEPALI_PARAGRAPHS[0], HINDI_PARAGRAPH.replace("नदी", "घर")])
    drop = judge(text, NEPALI, corpus())
    assert drop is not None and (drop.rule, drop.looks_like) == ("wrong_language", "hin_Deva")
    assert "fewer than 0.5" in drop.detail


def test_a_short_line_is_judged_with_the_next() -> None:
    heading = "बच्चे नदी के किनारे"  # Hindi, but too short to be cut alone
    text = "\n".join([heading, *NEPALI_PARAGRAPHS])
    assert assess(text, NEPALI, corpus()).text == text


def test_confusion_table() -> None:
    table = confusion(
        [("a.txt", {"npi_Deva": 5, "hin_Deva": 1}), ("b.txt", {"another script": 2})],
        ["npi_Deva", "mar_Deva"],
    )
    assert table.as_json() == {
        "rows": ["a.txt", "b.txt"],
        "columns": ["npi_Deva", "mar_Deva", "another script", "hin_Deva"],
        "counts": [[5, 0, 0, 1], [0, 0, 2, 0]],
    }
    known = confusion_of({"npi_Deva": NEPALI_PARAGRAPHS, "hin_Deva": [HINDI_PARAGRAPH]}, NEPALI)
    assert known.columns == ["npi_Deva", "hin_Deva", "mar_Deva", "mai_Deva", "bho_Deva"]
    assert known.counts == [[3, 0, 0, 0, 0], [0, 1, 0, 0, 0]]


def _lines(path: Path) -> list[str]:
    return [normalize(line, NEPALI)[0] for line in path.read_text("utf-8").split("\n") if line.strip()]


@pytest.mark.real
def test_real_flores_nepali_is_kept_and_hindi_dropped(real_data: Path) -> None:
    folder = real_data / "parallel/flores200"
    kept = [judge(line, NEPALI, corpus()) is None for line in _lines(folder / "npi_Deva.devtest")]
    dropped = [judge(line, NEPALI, corpus()) is not None for line in _lines(folder / "hin_Deva.devtest")]
    assert len(kept) == len(dropped) == 1012
    assert sum(kept) / 1012 >= 0.995 and sum(dropped) / 1012 >= 0.995


@pytest.mark.real
def test_real_sentences_are_not_dropped_by_quality(real_data: Path) -> None:
    """What is dropped of these good sentences is Nepali in Latin letters, and a list of names in them."""
    for name, most in (("floresv1/wikipedia.dev.ne-en.ne", 15), ("tico19/tico19-test.nep", 1)):
        found = [judge(line, NEPALI, corpus()) for line in _lines(real_data / "parallel" / name)]
        assert Counter(drop.rule for drop in found if drop) == {"wrong_script": most}


@pytest.mark.real
def test_real_hindi_inside_real_nepali(real_data: Path) -> None:
    folder = real_data / "parallel/flores200"
    nepali, hindi = (
        [line for line in _lines(folder / f"{code}_Deva.devtest") if len(words(line)) >= 10]
        for code in ("npi", "hin")
    )
    documents = [[*nepali[start : start + 3], hindi[start], nepali[start + 3]] for start in range(0, 900, 9)]
    results = [assess("\n".join(lines), NEPALI, corpus()) for lines in documents]
    right = [
        result.text == "\n".join([*lines[:3], lines[4]])
        for lines, result in zip(documents, results, strict=True)
    ]
    assert sum(right) >= 99
    assert sum(result.drop is None for result in results) == 100
