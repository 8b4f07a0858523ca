"""Agreement minimal pairs, checked against tables written here by hand, not against the grammar that made them."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from anukul.synth.world.pairs import AgreementPair, draw_agreement
from anukul.synth.world.people import draw_people

GOLDEN = Path(__file__).parent.parent / "golden" / "agreement_pairs.tsv"
EACH = 240
PEOPLE = draw_people(random.Random("people"), 140)
GENDERS = {name.nepali: name.feminine for name in PEOPLE}
VERBAL = ("subject-verb person", "subject-verb number", "subject-verb gender", "subject-verb honorific")

# Pronouns as subject, with -ले, with -सँग and as possessor.
PRONOUNS = {
    "1s": "म मैले मसँग मेरो", "1p": "हामी हामीले हामीसँग हाम्रो", "2l": "तँ तैँले तँसँग तेरो", "2m": "तिमी तिमीले तिमीसँग तिम्रो",
    "h": "तपाईं तपाईंले उहाँ उहाँले उहाँसँग उहाँको", "3s": "ऊ उसले ऊसँग उसको", "3p": "उनी उनले उनीहरू उनीहरूले उनीहरूसँग उनीहरूको",
}  # fmt: skip
# Nouns by the verb they take: low masculine, low feminine, respected.
NOUNS = {
    "3s": "केटो केटा गोठालो गोठाला छोरो छोरा भतिजो भतिजा भाइ नाति", "3sf": "केटी बहिनी छोरी नातिनी भतिजी",
    "h": "बुबा आमा दाजु दिदी काका काकी हजुरबुबा हजुरआमा",
}  # fmt: skip
SLOT_OF = {
    word: slot for table in (PRONOUNS, NOUNS) for slot, words in table.items() for word in words.split()
}
# The endings of any school grammar: present and future; past. The longer ones first.
PRESENT = (
    ("नुहुन्छ", "h"), ("नुहुनेछ", "h"), ("छौँ", "1p"), ("छस्", "2l"), ("छौ", "2m"), ("छन्", "3p"), ("छिन्", "3pf"), ("छु", "1s"),
    ("छे", "3sf"), ("छ", "3s"),
)  # fmt: skip
PAST = (
    ("नुभयो", "h"), ("यौँ", "1p"), ("यौ", "2m"), ("यो", "3s"), ("एँ", "1s"), ("ेँ", "1s"), ("इस्", "2l"), ("िस्", "2l"),
    ("इन्", "3pf"), ("िन्", "3pf"), ("ई", "3sf"), ("ी", "3sf"), ("ए", "3p"), ("े", "3p"),
)  # fmt: skip
COPULAS = ("छ", "छे", "छन्", "थियो", "थिई", "थिए")
# Whose genitive and adjective end in -ो, -ा, -ी.
ENDINGS = {"3s": "को", "3sf": "की", "3p": "का", "3pf": "की"}


@pytest.fixture(scope="module")
def pairs() -> list[AgreementPair]:
    return draw_agreement(random.Random("pairs"), PEOPLE, EACH, set())


def of(pairs: list[AgreementPair], *phenomena: str) -> list[AgreementPair]:
    found = [pair for pair in pairs if pair.phenomenon in phenomena]
    assert len(found) == EACH * len(phenomena)
    return found


def words(text: str) -> list[str]:
    assert text.endswith("।")
    return text[:-1].split(" ")


def changed(pair: AgreementPair) -> int:
    """The place of the one word that differs."""
    good, bad = words(pair.good), words(pair.bad)
    places = [place for place, (one, other) in enumerate(zip(good, bad, strict=True)) if one != other]
    assert len(places) == 1, pair
    return places[0]


def verb_slot(form: str) -> str:
    for ending, slot in (*PRESENT, *PAST):
        if form.endswith(ending):
            return slot
    raise AssertionError(form)


def noun_slot(word: str) -> str:
    """What a verb with this subject, or somebody met with, would show."""
    for marker in ("सँग", "ले", "को"):
        if word not in SLOT_OF and word.endswith(marker):
            word = word.removesuffix(marker)
    if word in SLOT_OF:
        return SLOT_OF[word]
    if word in GENDERS:
        return "3pf" if GENDERS[word] else "3p"
    assert word.endswith("हरू"), word
    return "3p"


def test_counts_and_form(pairs: list[AgreementPair]) -> None:
    counts = Counter(pair.phenomenon for pair in pairs)
    assert len(counts) == 7 and set(counts.values()) == {EACH} and EACH >= 200
    texts = [text for pair in pairs for text in (pair.good, pair.bad)]
    assert len(set(texts)) == len(texts)
    assert len({pair.id for pair in pairs}) == len(pairs)
    for text in texts:
        assert unicodedata.normalize("NFC", text) == text
        assert re.fullmatch(r"[ऀ-ॣ\u200d]+( [ऀ-ॣ\u200d]+)*।", text), text
    for pair in pairs:
        changed(pair)


def test_distances_and_attractors_are_spread(pairs: list[AgreementPair]) -> None:
    cells = Counter((pair.phenomenon, pair.distance, bool(pair.attractor)) for pair in pairs)
    for phenomenon in {pair.phenomenon for pair in pairs}:
        for distance in range(5):
            assert cells[phenomenon, distance, False] + cells[phenomenon, distance, True] == EACH // 5
            beside = cells[phenomenon, distance, True]
            least = {"genitive agreement": 0, "adjective agreement": 2, "ergative case": 5}.get(phenomenon, 1)
            assert beside == (EACH // 10 if distance >= least else 0)


def test_every_frame_is_used_both_ways(pairs: list[AgreementPair]) -> None:
    frames: dict[str, list[AgreementPair]] = defaultdict(list)
    for pair in pairs:
        frames[pair.cluster].append(pair)
    for one, other in frames.values():
        assert one.contrast == ">".join(reversed(other.contrast.split(">")))
        assert (one.phenomenon, one.distance, bool(one.attractor)) == (
            other.phenomenon, other.distance, bool(other.attractor),
        )  # fmt: skip
        if one.phenomenon in VERBAL:
            # Whoever looks at the verb alone, or at all but the subject, gets one of the two right.
            here, there = changed(one), changed(other)
            assert words(one.good)[here] == words(other.bad)[there]
            assert words(one.bad)[here] == words(other.good)[there]


def test_verbs_agree_with_their_subject_and_not_with_the_attractor(pairs: list[AgreementPair]) -> None:
    seen: set[str] = set()
    for pair in of(pairs, *VERBAL):
        place = changed(pair)
        good, bad = words(pair.good), words(pair.bad)
        assert place == len(good) - 1, pair
        subject, between = good[place - pair.distance - 1], good[place - pair.distance : place]
        right, wrong = verb_slot(good[place]), verb_slot(bad[place])
        assert noun_slot(subject) == right != wrong, pair
        assert pair.contrast == f"{right}>{wrong}", pair
        seen.add(pair.contrast)
        living = [word for word in between if word.endswith("सँग") or word.removesuffix("को") in SLOT_OF]
        living += [word for word in between if word.removesuffix("को") in GENDERS or word in SLOT_OF]
        if pair.attractor:
            assert pair.attractor in between and noun_slot(pair.attractor) == wrong, pair
            assert set(living) <= {pair.attractor}, pair
        else:
            assert not living, pair
    assert len(seen) == 2 * 14


def test_each_phenomenon_changes_one_feature(pairs: list[AgreementPair]) -> None:
    plural = {"1p", "3p"}
    for pair in of(pairs, *VERBAL):
        right, wrong = pair.contrast.split(">")
        if pair.phenomenon.endswith("person"):
            many = {*plural, "2m"}
            assert right[0] != wrong[0] and (right in many) == (wrong in many)
        elif pair.phenomenon.endswith("number"):
            assert right[0] == wrong[0] and (right in plural) != (wrong in plural)
        elif pair.phenomenon.endswith("gender"):
            assert right.removesuffix("f") == wrong.removesuffix("f")
        else:
            assert len({right[0], wrong[0]} - {"h"}) <= 1 and "f" not in pair.contrast


def test_nothing_doubtful_is_called_wrong(pairs: list[AgreementPair]) -> None:
    for pair in of(pairs, "subject-verb number"):
        place = changed(pair)
        subject = words(pair.good)[place - pair.distance - 1]
        if pair.contrast == "3s>3p":
            # भाइ आए shows respect, and so may केटाले किने
            assert subject in ("ऊ", "उसले") or (subject.endswith("ो") and not subject.endswith("ले")), pair
    either = {"किरण", "सुमन", "मिलन", "सरोज", "ज्योति", "तुलसी", "कुसुम", "हीरा", "मधु", "पासाङ", "पेमा", "सोनाम"}
    for pair in pairs:
        assert not either & {re.sub("(ले|सँग|को|का|की)$", "", word) for word in words(pair.good)}
    for pair in of(pairs, "genitive agreement", "adjective agreement"):
        # रामको छोरी and सानो केटी are said by many
        assert pair.contrast in ("को>का", "का>को", "का>की", "की>का")


def test_genitives_agree_with_what_is_owned(pairs: list[AgreementPair]) -> None:
    for pair in of(pairs, "genitive agreement"):
        place = changed(pair)
        good, bad = words(pair.good), words(pair.bad)
        owned = good[place + pair.distance + 1]
        right, wrong = pair.contrast.split(">")
        slot = noun_slot(owned)
        expected = "का" if slot == "h" else ENDINGS[slot]
        assert owned not in ("आमा", "दिदी", "काकी", "हजुरआमा") and expected == right, pair
        assert good[place][-1] == right[1] and bad[place] == good[place][:-1] + wrong[1]
        between = good[place + 1 : place + pair.distance + 1]
        assert len(between) == pair.distance
        # nothing that could be owned
        assert not any(word in SLOT_OF or word in ("पानी", "किताब", "घर") for word in between), pair
        if pair.attractor:
            owner = good[place][:-2]
            slot = noun_slot(owner) if owner not in ("केटा", "गोठाला") else "3s"
            assert ENDINGS[slot] == wrong and pair.attractor == good[place], pair


def test_adjectives_agree_with_their_noun(pairs: list[AgreementPair]) -> None:
    kinds: Counter[str] = Counter()
    for pair in of(pairs, "adjective agreement"):
        place = changed(pair)
        good, bad = words(pair.good), words(pair.bad)
        predicate = place == len(good) - 2 and good[-1] in COPULAS
        kinds["predicate" if predicate else "attribute"] += 1
        noun = good[place - pair.distance - 1] if predicate else good[place + pair.distance + 1]
        right, wrong = pair.contrast.split(">")
        assert ENDINGS[noun_slot(noun)] == right, pair
        assert good[place][-1] == right[1] and bad[place][-1] == wrong[1]
        if pair.attractor:
            between = good[place - pair.distance : place]
            assert pair.attractor in between and between[between.index(pair.attractor) + 1] == "घरमा"
            assert ENDINGS[noun_slot(pair.attractor)] == wrong, pair
    assert kinds["attribute"] >= 10 and kinds["predicate"] >= 150


def test_the_ergative_goes_with_transitive_verbs(pairs: list[AgreementPair]) -> None:
    going = re.compile("गय|गए|गई|गइ|आय|आए|आई|आइ|सुत|उठ|हिँड|बस|फर्क|निस्क|उभि|जानु|आउनु")
    doubtful = re.compile("हाँस|नाच|रो[एयई]|बोल|खेल|पौड|घुम|थाक")
    for pair in of(pairs, "ergative case"):
        place = changed(pair)
        assert place == 0
        good, bad = words(pair.good), words(pair.bad)
        verb = good[pair.distance + 1]
        assert not doubtful.match(verb), pair
        moves = going.match(verb) is not None
        assert good[0].endswith("ले") != bad[0].endswith("ले")
        assert good[0].endswith("ले") != moves, pair
        assert pair.contrast == ("nom>erg" if moves else "erg>nom") and pair.attractor == ""
        assert len(good) == pair.distance + 2
        assert verb_slot(verb) and not verb.endswith(tuple(ending for ending, _ in PRESENT)), pair


def test_what_was_seen_is_not_drawn_again(pairs: list[AgreementPair]) -> None:
    seen = {text for pair in pairs[:500] for text in (pair.good, pair.bad)}
    held = set(seen)
    again = draw_agreement(random.Random("pairs"), PEOPLE, 40, seen)
    texts = {text for pair in again for text in (pair.good, pair.bad)}
    assert len(again) == 7 * 40 and not texts & held and texts <= seen


def golden_rows() -> list[str]:
    made = ["id\tcontrast\tdistance\tattractor\tgood\tbad"]
    for pair in draw_agreement(random.Random(2024), PEOPLE, 20, set()):
        row = (pair.id, pair.contrast, str(pair.distance), pair.attractor, pair.good, pair.bad)
        made.append("\t".join(row))
    return made


def test_golden_pairs_are_reproduced() -> None:
    expected = GOLDEN.read_text(encoding="utf-8").splitlines()
    assert len(expected) == 141
    for line, (made, wanted) in enumerate(zip(golden_rows(), expected, strict=True), start=1):
        assert made == wanted, f"line {line}"
