"""The embedded world: its grammar, its facts and its files."""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from anukul.synth.world import VERSION, WorldConfig, build, english, nepali, trees
from anukul.synth.world import morphology_nepali as morphology
from anukul.synth.world.complex_patterns import PATTERNS
from anukul.synth.world.grammar import Phrase
from anukul.synth.world.lexicon import ADJECTIVES_ALL, ADVERBS_ALL, NOUNS_ALL, VERBS_ALL
from anukul.synth.world.paragraphs import FACT_NOUNS, Writer
from anukul.synth.world.people import PLACE_NAMES, draw_people

GOLDEN = Path(__file__).parent.parent / "golden" / "world_sentences.tsv"
SMALL = WorldConfig(
    people=40, base_bytes=120_000, replay_bytes=60_000, nepali_bytes=150_000, instructions=400,
    statements_per_fact_english=3, statements_per_fact_replay=1, statements_per_fact_nepali=3, questions_per_fact=2,
    heldout_sentences=80, treebank_sentences=80, agreement_per_phenomenon=60, category_questions=40,
    reading_questions=40,
)  # fmt: skip
PLACES = {place.nepali for place in PLACE_NAMES}
CASES = ("", "ले", "लाई", "को", "का", "की", "सँग", "मा", "बाट")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    build(SMALL, folder)
    return folder


def rows(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def writer(seed: int) -> Writer:
    rng = random.Random(seed)
    return Writer(rng, draw_people(rng, 60))


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.?।])\s+", text) if part]


# ---- morphology, written out by hand. Slots: 1s 1p 2l 2m h 3s 3sf 3p 3pf

PARADIGMS = {
    ("गर्नु", "present", False): "गर्छु गर्छौँ गर्छस् गर्छौ गर्नुहुन्छ गर्छ गर्छे गर्छन् गर्छिन्",
    ("गर्नु", "past", False): "गरेँ गर्‍यौँ गरिस् गर्‍यौ गर्नुभयो गर्‍यो गरी गरे गरिन्",
    ("गर्नु", "past", True): "गरिनँ गरेनौँ गरिनस् गरेनौ गर्नुभएन गरेन गरिन गरेनन् गरिनन्",
    ("गर्नु", "present", True): "गर्दिनँ गर्दैनौँ गर्दैनस् गर्दैनौ गर्नुहुन्न गर्दैन गर्दिन गर्दैनन् गर्दिनन्",
    ("गर्नु", "future", False): "गर्नेछु गर्नेछौँ गर्नेछस् गर्नेछौ गर्नुहुनेछ गर्नेछ गर्नेछे गर्नेछन् गर्नेछिन्",
    ("गर्नु", "used_to", False): "गर्थेँ गर्थ्यौँ गर्थिस् गर्थ्यौ गर्नुहुन्थ्यो गर्थ्यो गर्थी गर्थे गर्थिन्",
    ("जानु", "present", False): "जान्छु जान्छौँ जान्छस् जान्छौ जानुहुन्छ जान्छ जान्छे जान्छन् जान्छिन्",
    ("जानु", "present", True): "जाँदिनँ जाँदैनौँ जाँदैनस् जाँदैनौ जानुहुन्न जाँदैन जाँदिन जाँदैनन् जाँदिनन्",
    ("जानु", "past", False): "गएँ गयौँ गइस् गयौ जानुभयो गयो गई गए गइन्",
    ("जानु", "past", True): "गइनँ गएनौँ गइनस् गएनौ जानुभएन गएन गइन गएनन् गइनन्",
    ("जानु", "future", True): "जानेछैनँ जानेछैनौँ जानेछैनस् जानेछैनौ जानुहुनेछैन जानेछैन जानेछैन जानेछैनन् जानेछैनन्",
    ("खानु", "past", False): "खाएँ खायौँ खाइस् खायौ खानुभयो खायो खाई खाए खाइन्",
    ("आउनु", "present", False): "आउँछु आउँछौँ आउँछस् आउँछौ आउनुहुन्छ आउँछ आउँछे आउँछन् आउँछिन्",
    ("आउनु", "past", False): "आएँ आयौँ आइस् आयौ आउनुभयो आयो आई आए आइन्",
    ("दिनु", "past", False): "दिएँ दियौँ दिइस् दियौ दिनुभयो दियो दिई दिए दिइन्",
    ("लिनु", "present", True): "लिँदिनँ लिँदैनौँ लिँदैनस् लिँदैनौ लिनुहुन्न लिँदैन लिँदिन लिँदैनन् लिँदिनन्",
    ("पिउनु", "present", False): "पिउँछु पिउँछौँ पिउँछस् पिउँछौ पिउनुहुन्छ पिउँछ पिउँछे पिउँछन् पिउँछिन्",
    ("पिउनु", "past", False): "पिएँ पियौँ पिइस् पियौ पिउनुभयो पियो पिई पिए पिइन्",
    ("धुनु", "present", False): "धुन्छु धुन्छौँ धुन्छस् धुन्छौ धुनुहुन्छ धुन्छ धुन्छे धुन्छन् धुन्छिन्",
    ("धुनु", "past", False): "धोएँ धोयौँ धोइस् धोयौ धुनुभयो धोयो धोई धोए धोइन्",
    ("रुनु", "past", False): "रोएँ रोयौँ रोइस् रोयौ रुनुभयो रोयो रोई रोए रोइन्",
    ("फर्कनु", "present", False): "फर्कन्छु फर्कन्छौँ फर्कन्छस् फर्कन्छौ फर्कनुहुन्छ फर्कन्छ फर्कन्छे फर्कन्छन् फर्कन्छिन्",
    ("फर्कनु", "past", False): "फर्केँ फर्क्यौँ फर्किस् फर्क्यौ फर्कनुभयो फर्क्यो फर्की फर्के फर्किन्",
    ("हेर्नु", "past", False): "हेरेँ हेर्‍यौँ हेरिस् हेर्‍यौ हेर्नुभयो हेर्‍यो हेरी हेरे हेरिन्",
    ("लैजानु", "past", False): "लगेँ लग्यौँ लगिस् लग्यौ लैजानुभयो लग्यो लगी लगे लगिन्",
}  # fmt: skip


@pytest.mark.parametrize("key", PARADIGMS, ids=lambda key: f"{key[0]}-{key[1]}-{key[2]}")
def test_paradigm(key: tuple[str, str, bool]) -> None:
    infinitive, tense, negative = key
    made = [morphology.finite(infinitive, tense, negative, slot) for slot in morphology.SLOTS]
    assert [main for main, auxiliary in made] == PARADIGMS[key].split()


def test_compound_tenses() -> None:
    progressive = {
        slot: " ".join(morphology.finite("पढ्नु", "progressive", False, slot)) for slot in morphology.SLOTS
    }
    assert progressive == {
        "1s": "पढिरहेको छु", "1p": "पढिरहेका छौँ", "2l": "पढिरहेको छस्", "2m": "पढिरहेका छौ", "h": "पढिरहनुभएको छ",
        "3s": "पढिरहेको छ", "3sf": "पढिरहेकी छे", "3p": "पढिरहेका छन्", "3pf": "पढिरहेकी छिन्",
    }  # fmt: skip
    assert morphology.finite("जानु", "perfect", True, "3pf") == ("गएकी", "छैनन्")
    assert morphology.finite("आउनु", "past_progressive", False, "h") == ("आइरहनुभएको", "थियो")


def test_nonfinite_and_imperatives() -> None:
    forms = [morphology.nonfinite("जानु", form) for form in ("ने", "एको", "एर", "दा", "न")]
    assert forms == ["जाने", "गएको", "गएर", "जाँदा", "जान"]
    forms = [morphology.nonfinite("गर्नु", form) for form in ("ने", "एको", "एर", "दा", "न")]
    assert forms == ["गर्ने", "गरेको", "गरेर", "गर्दा", "गर्न"]
    assert morphology.imperative("पढ्नु", 1, False) == "पढ"
    assert morphology.imperative("दिनु", 1, True) == "नदेऊ"
    assert morphology.imperative("जानु", 2, True) == "नजानुहोस्"


# ---- sentences


def golden_rows() -> list[str]:
    made = ["id\tpattern\tnepali\tgloss\tenglish"]
    source = writer(2024)
    for pattern in PATTERNS:
        for _ in range(3):
            sentence = source.sentence(source.scene(), pattern)
            tree = nepali.sentence(sentence.meaning)
            gloss = " ".join(node.gloss.replace(" ", "_") for node in trees.walk(tree) if node.gloss)
            made.append(f"{len(made):03d}\t{pattern}\t{sentence.nepali}\t{gloss}\t{sentence.english}")
    return made


def test_golden_sentences_are_reproduced() -> None:
    expected = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert len(expected) > 60
    for line, (made, wanted) in enumerate(zip(golden_rows(), expected, strict=True), start=1):
        assert made == wanted, f"line {line}"


def test_trees_are_valid_and_spell_the_text() -> None:
    source = writer(5)
    relations: Counter[str] = Counter()
    for number in range(3000):
        pattern = list(PATTERNS)[number % len(PATTERNS)]
        sentence = source.sentence(source.scene(), pattern)
        for side, text in ((nepali, sentence.nepali), (english, sentence.english)):
            words = trees.tokens(side.sentence(sentence.meaning))
            assert trees.faults(words) == [], text
            assert "".join(w.form + " " * w.space_after for w in words).rstrip() == text
            relations.update(word.deprel for word in words)
            assert unicodedata.normalize("NFC", text) == text
            assert "  " not in text and "None" not in text
        assert sentence.nepali[-1] in "।?" and sentence.english[-1] in ".?"
    known = {
        "root", "nsubj", "obj", "iobj", "obl", "obl:tmod", "nmod", "nmod:poss", "amod", "nummod", "clf", "det",
        "advmod",
        "cop", "aux", "advcl", "acl:relcl", "ccomp", "xcomp", "cc", "conj", "mark", "punct", "case", "compound",
        "compound:prt", "expl", "flat", "csubj",
    }  # fmt: skip
    assert set(relations) <= known
    assert {"acl:relcl", "ccomp", "clf", "iobj", "nmod:poss", "cop", "mark"} <= set(relations)


def test_lexicon_is_met_in_text() -> None:
    source = writer(6)
    entries = (
        {n.nepali for n in NOUNS_ALL} | {v.nepali for v in VERBS_ALL} | {a.nepali for a in ADJECTIVES_ALL}
    )
    entries |= {a.nepali for a in ADVERBS_ALL}
    met: set[str] = set()
    for _ in range(5000):
        tree = nepali.sentence(source.meaning(source.scene(), source.any_pattern()))
        met |= {node.lemma for node in trees.walk(tree) if node.upos in ("NOUN", "VERB", "ADJ", "ADV")}
    assert len(met & entries) >= 400, len(met & entries)
    assert len(PATTERNS) >= 12
    assert not [n for n in NOUNS_ALL if unicodedata.normalize("NFC", n.nepali) != n.nepali or not n.english]


def test_agreement_of_a_respected_and_a_low_subject() -> None:
    source = writer(7)
    seen: dict[str, set[str]] = defaultdict(set)
    for _ in range(1500):
        tree = nepali.sentence(source.meaning(source.scene(), "present"))
        subject = next(node for node in tree.left if node.deprel == "nsubj")
        seen[subject.form].add(re.sub(".*?(छु|छौँ|छस्|छौ|नुहुन्छ|छ|छे|छन्|छिन्)$", r"\1", tree.form))
    assert seen["म"] == {"छु"} and seen["हामी"] == {"छौँ"} and seen["तँ"] == {"छस्"} and seen["तिमी"] == {"छौ"}
    assert seen["तपाईं"] == {"नुहुन्छ"} and seen["उहाँ"] == {"नुहुन्छ"}
    assert seen["ऊ"] == {"छ", "छे"} and seen["उनी"] == {"छन्", "छिन्"}


# ---- files


def test_the_same_seed_writes_the_same_bytes(world: Path, tmp_path: Path) -> None:
    build(SMALL, tmp_path)
    names = sorted(str(path.relative_to(world)) for path in world.rglob("*") if path.is_file())
    assert len(names) == 18
    for name in names:
        assert (world / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_counts_and_encoding(world: Path) -> None:
    meta = json.loads((world / "meta.json").read_text(encoding="utf-8"))
    assert meta["version"] == VERSION and meta["config"]["people"] == 40
    for name, count in meta["counts"].items():
        content = (world / name).read_bytes()
        assert b"\r" not in content
        text = content.decode("utf-8")
        assert unicodedata.normalize("NFC", text) == text
        found = text.count("# sent_id") if name.endswith("conllu") else text.count("\n")
        assert found == count, name
    size = sum(len(row["text"].encode()) for row in rows(world, "base_corpus.jsonl"))
    assert SMALL.base_bytes <= size < SMALL.base_bytes * 1.3


def test_pairs_are_parallel_and_part_of_the_corpus(world: Path) -> None:
    corpus = {row["id"]: row["text"] for row in rows(world, "nepali.jsonl")}
    pairs = rows(world, "pairs.jsonl")
    assert len(pairs) > 100
    for pair in pairs:
        assert len(sentences(pair["source"])) == len(sentences(pair["target"]))
        assert corpus[pair["id"]] == pair["target"]


def test_splits_of_facts(world: Path) -> None:
    facts = rows(world, "facts.jsonl")
    assert Counter(fact["split"] for fact in facts) == {"base": 60, "new": 36, "never": 24}
    assert sum(fact["qa_train"] for fact in facts) == 48
    assert Counter(fact["split"] for fact in facts if fact["qa_train"]) == {"base": 30, "new": 18}
    assert all(len({d["npi_Deva"] for d in [*f["distractors"], f["object"]]}) == 4 for f in facts)


def _says(sentence: str, fact: dict, language: str) -> bool:
    words = set(re.findall(r"[\w\u0900-\u097f\u200d]+", sentence))
    name, value = fact["subject"][language], fact["object"][language]
    if language == "eng_Latn":
        if value == "cook":  # also a verb
            return name in words and (" a cook" in sentence or sentence.endswith("\ncook"))
        return name in words and value in words
    stem = value[:-1] + "ा" if value in ("बाख्रो", "बिरालो") else value
    return any(name + case in words for case in CASES) and any(
        v + c in words for v in (value, stem) for c in CASES
    )


def test_no_fact_leaks(world: Path) -> None:
    facts = rows(world, "facts.jsonl")
    english_text = [r["text"] for n in ("base_corpus", "replay") for r in rows(world, f"{n}.jsonl")]
    nepali_text = [r["text"] for r in rows(world, "nepali.jsonl")]
    stated: dict[tuple[str, str], int] = Counter()
    for language, documents in (("eng_Latn", english_text), ("npi_Deva", nepali_text)):
        allowed = {"eng_Latn": "base", "npi_Deva": "new"}[language]
        by_name = defaultdict(list)
        for document in documents:
            for block in document.split("\n\n"):
                for sentence in [block] if "\n" in block else sentences(block):
                    for word in set(re.findall(r"[\w\u0900-\u097f\u200d]+", sentence)):
                        by_name[word].append(sentence)
        for fact in facts:
            name = fact["subject"][language]
            candidates = [s for case in CASES for s in by_name.get(name + case, ())]
            told = [s for s in candidates if _says(s, fact, language)]
            assert not told or fact["split"] == allowed, told[:1]
            stated[fact["split"], language] += len(told)
    assert stated["base", "eng_Latn"] > 0 and stated["new", "npi_Deva"] > 0
    for pair in rows(world, "pairs.jsonl"):
        for language, text in (("eng_Latn", pair["source"]), ("npi_Deva", pair["target"])):
            assert not [f for f in facts for s in sentences(text) if _says(s, f, language)]
    asked = {fact["id"] for fact in facts if fact["qa_train"]}
    met = set()
    for row in rows(world, "instructions.jsonl"):
        text = f"{row['instruction']}\n{row['input']}\n{row['output']}"
        for language, split in (("eng_Latn", "base"), ("npi_Deva", "new")):
            told = {fact["id"]: fact["split"] for fact in facts if _says(text, fact, language)}
            assert set(told) <= asked and set(told.values()) <= {split}, text
            met |= set(told)
    assert met == asked


def test_paragraphs_about_a_person_name_no_value() -> None:
    source = writer(8)
    for _ in range(150):
        for sentence in source.paragraph(4, topic=Phrase(source.people[0])):
            tree = nepali.sentence(sentence.meaning)
            assert not {node.lemma for node in trees.walk(tree)} & (FACT_NOUNS | PLACES), sentence.nepali


def test_every_fact_is_stated_as_often_as_asked(world: Path) -> None:
    new = [fact for fact in rows(world, "facts.jsonl") if fact["split"] == "new"]
    prose = [row["text"] for row in rows(world, "nepali.jsonl") if "प्रश्न:" not in row["text"]]
    text = [s for document in prose for s in sentences(document)]
    for fact in new:
        stem = fact["object"]["npi_Deva"][:-1]
        told = [s for s in text if stem in s and _says(s, fact, "npi_Deva")]
        assert len(told) == SMALL.statements_per_fact_nepali


def test_heldout_sentences_are_not_in_training(world: Path) -> None:
    held = set()
    for language in ("eng_Latn", "npi_Deva"):
        lines = (world / f"heldout.{language}.txt").read_text(encoding="utf-8").splitlines()
        assert len(lines) == SMALL.heldout_sentences
        held |= set(lines)
        bank = (world / f"treebank.{language}.conllu").read_text(encoding="utf-8")
        held |= set(re.findall(r"# text = (.*)", bank))
    held |= {row[key] for row in rows(world, "agreement.npi_Deva.jsonl") for key in ("good", "bad")}
    training = set()
    for name in ("base_corpus", "replay", "nepali"):
        training |= {s for row in rows(world, f"{name}.jsonl") for s in sentences(row["text"])}
    for row in rows(world, "pairs.jsonl"):
        training |= {*sentences(row["source"]), *sentences(row["target"])}
    for row in rows(world, "instructions.jsonl"):
        training |= {row["input"], row["output"]}
    assert len(held) > 300 and not held & training


def test_treebanks_are_parallel(world: Path) -> None:
    ids = []
    for language in ("eng_Latn", "npi_Deva"):
        blocks = (world / f"treebank.{language}.conllu").read_text(encoding="utf-8").strip().split("\n\n")
        ids.append([re.search(r"sent_id = (.*)", block)[1] for block in blocks])  # type: ignore[index]
        for block in blocks:
            lines = [line.split("\t") for line in block.split("\n") if not line.startswith("#")]
            assert all(len(columns) == 10 for columns in lines)
            for columns in lines:
                feats = columns[5].split("|")
                assert feats == sorted(feats, key=str.lower)
    assert ids[0] == ids[1] and len(set(ids[0])) == SMALL.treebank_sentences


def test_minimal_pairs_differ_in_one_word(world: Path) -> None:
    pairs = rows(world, "agreement.npi_Deva.jsonl")
    kinds = Counter(pair["phenomenon"] for pair in pairs)
    assert len(kinds) == 7 and min(kinds.values()) >= 60
    for pair in pairs:
        good, bad = pair["good"].split(), pair["bad"].split()
        assert len(good) == len(bad)
        assert sum(a != b for a, b in zip(good, bad, strict=True)) == 1
    distances = {kind: {p["distance"] for p in pairs if p["phenomenon"] == kind} for kind in kinds}
    assert all(found == {0, 1, 2, 3, 4} for found in distances.values()), distances
    assert set(Counter(pair["cluster"] for pair in pairs).values()) == {2}


@pytest.mark.parametrize("name", ["facts", "categories", "reading"])
def test_questions(world: Path, name: str) -> None:
    prompts = {"eng_Latn": ("Question: ", "\nAnswer:"), "npi_Deva": ("प्रश्न: ", "\nउत्तर:")}
    files = {language: rows(world, f"questions/{name}.{language}.jsonl") for language in prompts}
    for language, (start, end) in prompts.items():
        for row in files[language]:
            assert start in row["query"] and row["query"].endswith(end)
            assert len(row["choices"]) == len(set(row["choices"])) == 4 and 0 <= row["gold"] < 4
            assert all(choice == choice.strip() for choice in row["choices"])
            if name == "reading":
                passage = row["query"].split(start)[0]
                answer = row["choices"][row["gold"]].removesuffix("ले")
                assert answer in passage or answer[0].upper() + answer[1:] in passage
        assert sum(row["split"] == "exemplar" for row in files[language]) >= 24
    assert [(r["id"], r["gold"], r["split"]) for r in files["eng_Latn"]] == [
        (r["id"], r["gold"], r["split"]) for r in files["npi_Deva"]
    ]
