"""Questions made from the corpus: every filter, and nothing that the corpus does not support."""

from pathlib import Path
from typing import Any

import pytest

from anukul import languages
from anukul.config import (
    CorpusProbeSettings,
    CorpusSettings,
    ModelSettings,
    RunConfig,
    SynthSettings,
    TextInput,
)
from anukul.errors import UserError
from anukul.evaluate.knowledge.corpus_index import (
    aligned_names,
    build_index,
    content_words,
    mentions,
    stem_of,
)
from anukul.evaluate.knowledge.corpus_probe import (
    MAX_WORDS,
    PER_VALUE,
    Probe,
    build_probe,
    make_probe,
    write_probe,
)
from anukul.records import Document, Pair, write_rows

NEPALI, ENGLISH = languages.load("npi_Deva"), languages.load("eng_Latn")
TOWNS = ["पोखरा", "जुम्ला", "धरान", "गोरखा", "इलाम", "पाल्पा"]
NAMES = frozenset(TOWNS)
CORPUS = [
    "सगरमाथाको उचाइ ८८४८ मिटर रहेको हिमाल आरोहीले नापे।",
    "अन्नपूर्णाको उचाइ ८०९१ छ।",
    "त्यस बजेटमा ३४५६ रुपैयाँ थियो।",
    "पुरानो मन्दिर २१२३ पटक मर्मत भयो।",
    "Population grew by 2048 people there.",
    *(f"{town}मा ठूलो बजार छ।" for town in TOWNS),
    *(f"{town}को कथा पुरानो छ।" for town in TOWNS[1:]),
    "प्रसिद्ध फेवाताल पर्यटकीय सहर पोखरामा पर्छ।",
]


def probe_of(*held: str, names: frozenset[str] = NAMES, **more: Any) -> Probe:
    settings = CorpusProbeSettings(text="x", **more)
    index = build_index(CORPUS, names, NEPALI)
    return build_probe(enumerate(held, start=1), index, names, NEPALI, settings, 0)  # type: ignore[arg-type]  # an iterator of pairs


def test_a_number_is_hidden_and_asked_for() -> None:
    (question,) = probe_of("संसारको अग्लो हिमाल सगरमाथाको उचाइ ८८४८ मिटर मानिन्छ।").questions
    cloze = question.cloze
    assert cloze.prefix == "संसारको अग्लो हिमाल सगरमाथाको उचाइ "
    assert cloze.choices[cloze.gold] == "८८४८" and cloze.split == "number"
    assert set(cloze.choices) - {"८८४८"} <= {
        "८०९१",
        "३४५६",
        "२१२३",
    }  # the same digits' script, as many digits
    assert question.support == CORPUS[0] and {"सगरमाथा", "हिमाल"} <= set(question.shared)
    assert question.frequencies[cloze.gold] == 1


def test_a_number_is_the_same_in_both_digits() -> None:
    probe = probe_of("people of the village population grew to 2048.", choices=2)
    assert probe.dropped == {"too_few_distractors": 1}  # the others are in Devanagari digits
    found = list(mentions("सन् २०२० वा 2020, COVID-19, १२.५ र 7 मा", NAMES, NEPALI))
    assert [(m.kind, m.key, m.text) for m in found] == [
        ("number", "2020", "२०२०"),
        ("number", "2020", "2020"),
        ("number", "12.5", "१२.५"),
        ("name", "name:COVID", "COVID"),
    ]


def test_a_name_is_hidden_without_its_case_marker() -> None:
    (question,) = probe_of("पर्यटकीय सहर हो फेवाताल भएको पोखरामा घुम्न जाऔं।").questions
    cloze = question.cloze
    assert cloze.prefix.endswith("भएको ") and cloze.choices[cloze.gold] == "पोखरा"
    assert set(cloze.choices) <= NAMES and len(set(cloze.choices)) == 4
    assert stem_of("पोखराहरूलाई", NEPALI) == "पोखरा"
    assert content_words("पोखरामा धेरै बजार छ", NEPALI) == {"पोखरा", "बजार"}


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ("यहाँ केही पनि छैन।", "no_mention"),
        (CORPUS[0], "sentence_in_corpus"),
        ("शब्द " * MAX_WORDS + "८८४८ मिटर।", "too_long"),
        ("सगरमाथाको उचाइ ८८४८ मिटर।", "short_prefix"),
        ("पोखरा भन्ने फेवाताल भएको पर्यटकीय सहर पोखरामा छ।", "short_prefix answer_in_prefix"),
        ("सगरमाथाको उचाइ अब मिटरमा ९९९९ भयो।", "not_in_corpus"),
        ("मेरो घरमा धेरै किताब ८८४८ वटा छन्।", "no_overlap"),
        ("अलि पर कतै टाढा ८८४८ उचाइ मिटर।", "no_overlap_before"),
    ],
)
def test_every_filter_has_its_reason(held: str, reason: str) -> None:
    probe = probe_of(held)
    assert probe.questions == []
    assert list(probe.dropped) == reason.split()
    assert set(probe.as_json()["dropped"]) == set(reason.split())


def test_repeated_values_and_the_limit() -> None:
    held = [
        f"{word} अग्लो हिमाल सगरमाथाको उचाइ ८८४८ मिटर मानिन्छ।" for word in ("एक", "दुई", "तीन", "चार", "पाँच")
    ]
    probe = probe_of(*held)
    assert len(probe.questions) == PER_VALUE and probe.dropped == {"value_repeated": 2}
    probe = probe_of(*held, limit=1)
    assert len(probe.questions) == 1 and probe.dropped == {"over_limit": 4}


def test_a_distractor_is_not_also_true() -> None:
    index = build_index([*CORPUS, "सगरमाथाको उचाइ ८८४९ मिटर भन्ने हिमाल।"], NAMES, NEPALI)
    held = [(1, "संसारको अग्लो हिमाल सगरमाथाको उचाइ ८८४८ मिटर मानिन्छ।")]
    probe = build_probe(held, index, NAMES, NEPALI, CorpusProbeSettings(text="x"), 0)
    assert "८८४९" not in probe.questions[0].cloze.choices


def test_frequency_gives_nothing_away() -> None:
    often = [f"सगरमाथाको उचाइ ८८४८ मिटर भन्ने {word}" for word in ("किताब", "नक्सा", "कागज", "फलक")]
    index = build_index([*CORPUS, *often], NAMES, NEPALI)
    words = [
        stem + ending
        for stem in ("घर", "खेत", "वन", "ताल", "बाटो")
        for ending in ("तिर", "सम्म", "भित्र", "माथि")
    ]
    held = [(n, f"{word} अग्लो सगरमाथाको उचाइ ८८४८ मिटर रह्यो") for n, word in enumerate(words)]
    settings = CorpusProbeSettings(text="x")
    probe = build_probe(held, index, NAMES, NEPALI, settings, 0)
    # the most frequent of all is asked only where no distractor should be more frequent: a quarter of the draws
    assert 10 <= probe.dropped["frequency"] < 20
    assert len(probe.questions) + probe.dropped["frequency"] + probe.dropped["value_repeated"] == 20


def test_names_are_found_through_the_other_side() -> None:
    pairs = [
        (f"He saw {e} and left {n} times.", f"उसले {t}लाई देख्यो र {n} पटक गयो।")
        for n in range(3)
        for e, t in (("Pokhara", "पोखरा"), ("Jumla", "जुम्ला"))
    ]
    pairs += [("The market is big.", "बजार ठूलो छ।"), ("Big Market is big.", "ठूलो बजार ठूलो छ।")] * 3
    assert aligned_names(pairs, NEPALI, ENGLISH) == {"पोखरा", "जुम्ला"}


def test_the_run_folder_gives_the_same_questions_each_time(tmp_path: Path) -> None:
    held = tmp_path / "held.txt"
    held.write_text("trained on\nसंसारको अग्लो हिमाल सगरमाथाको उचाइ ८८४८ मिटर मानिन्छ।\n", encoding="utf-8")
    settings = CorpusProbeSettings(text=str(held), skip=1)
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="x"),
        corpus=CorpusSettings(inputs=(TextInput(path="x"),)),
        synth=SynthSettings(),
    )
    with pytest.raises(UserError, match=r"no corpus/documents\.parquet"):
        make_probe(config, settings, tmp_path)
    documents = [Document(str(n), text, "npi_Deva", "s", "l", []) for n, text in enumerate(CORPUS)]
    write_rows(tmp_path / "corpus" / "documents.parquet", documents, Document)
    texts = [(f"We saw Pokhara {n} times.", f"हामीले पोखरा {n} पटक देख्यौं।") for n in range(3)]
    sides = ("eng_Latn", "npi_Deva", "organic", "", "s", "l")
    pairs = [Pair(str(n), "", source, target, *sides) for n, (source, target) in enumerate(texts)]
    write_rows(tmp_path / "synth" / "pairs.parquet", pairs, Pair)
    probe = make_probe(config, settings, tmp_path)
    assert (probe.names, probe.sentences, len(probe.questions)) == (1, len(CORPUS), 1)
    assert probe.questions[0].cloze.cluster == "2"
    names = write_probe(probe, tmp_path / "a")
    write_probe(make_probe(config, settings, tmp_path), tmp_path / "b")
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    sample = (tmp_path / "a" / "corpus_probe.sample.txt").read_text(encoding="utf-8")
    assert "*८८४८ (1)" in sample and CORPUS[0] in sample
    held.write_text("यहाँ केही पनि छैन।\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"no question can be made of it \(no_mention 1\)"):
        make_probe(config, settings.model_copy(update={"skip": 0}), tmp_path)


@pytest.mark.real
def test_real_text_gives_questions(real_data: Path) -> None:
    folder = real_data / "parallel" / "tico19"
    english = (folder / "tico19-test.eng").read_text(encoding="utf-8").splitlines()
    nepali = (folder / "tico19-test.nep").read_text(encoding="utf-8").splitlines()
    names = aligned_names(zip(english[:1950], nepali[:1950], strict=True), NEPALI, ENGLISH)
    assert {"चीन", "वुहान"} <= names
    index = build_index(nepali[:1950], names, NEPALI)
    probe = build_probe(
        list(enumerate(nepali, start=1))[1950:], index, names, NEPALI, CorpusProbeSettings(text="x"), 0
    )
    assert len(probe.questions) >= 20
    assert {question.cloze.split for question in probe.questions} == {"name", "number"}
    for question in probe.questions:
        answer = question.cloze.choices[question.cloze.gold]
        assert question.sentence.startswith(question.cloze.prefix + answer)
        assert len(question.shared) >= 2
