"""Nepali inflection: verb paradigms by stem class, copulas, cases, genitives and adjectives.

The nine slots of a paradigm, from person, number, honour and gender (standard written Nepali; the endings are those of
any school grammar): 1s 1p 2l (तँ) 2m (तिमी) h (तपाईं, उहाँ) 3s 3sf 3p (also masculine उनी) 3pf (feminine उनी).
"""

from __future__ import annotations

from functools import cache

from anukul.synth.world.grammar import Adjective, Agreement, Name, Noun, Pronoun

VIRAMA = "\u094d"
ZWJ = "\u200d"
SLOTS = ("1s", "1p", "2l", "2m", "h", "3s", "3sf", "3p", "3pf")
ENGLISH_SLOTS = {
    "1s": "1SG", "1p": "1PL", "2l": "2SG.LOW", "2m": "2SG.MID", "h": "HON", "3s": "3SG", "3sf": "3SG.F",
    "3p": "3PL", "3pf": "3SG.F.MID",
}  # fmt: skip

_ORDER = ("1s", "1p", "2l", "2m", "3s", "3sf", "3p", "3pf")


def _row(forms: str) -> dict[str, str]:
    return dict(zip(_ORDER, forms.split(), strict=True))


_PRESENT = _row("छु छौँ छस् छौ छ छे छन् छिन्")
_NEGATIVE = _row("दिनँ दैनौँ दैनस् दैनौ दैन दिन दैनन् दिनन्")
_PAST_VOWEL = _row("एँ यौँ इस् यौ यो ई ए इन्")
_PAST_NEGATIVE = _row("इनँ एनौँ इनस् एनौ एन इन एनन् इनन्")
_NOT = _row("छैनँ छैनौँ छैनस् छैनौ छैन छैन छैनन् छैनन्")
_USED = _row("थेँ थ्यौँ थिस् थ्यौ थ्यो थी थे थिन्")
_PARTICIPLE = _row("को का को का को की का की")

EXIST = {**_PRESENT, "h": "हुनुहुन्छ"}
EXIST_NOT = {**_NOT, "h": "हुनुहुन्न"}
IDENTITY = {**_row("हुँ हौँ होस् हौ हो हो हुन् हुन्"), "h": "हुनुहुन्छ"}
IDENTITY_NOT = {**_row("होइनँ होइनौँ होइनस् होइनौ होइन होइन होइनन् होइनन्"), "h": "हुनुहुन्न"}
WAS = {**_row("थिएँ थियौँ थिइस् थियौ थियो थिई थिए थिइन्"), "h": "हुनुहुन्थ्यो"}
WAS_NOT = {**_row("थिइनँ थिएनौँ थिइनस् थिएनौ थिएन थिइन थिएनन् थिइनन्"), "h": "हुनुहुन्नथ्यो"}

# Stems whose past base is not regular (जानु, गयो); the others follow `past_base`.
_PAST_BASES = {"जा": "ग", "हु": "भ", "लैजा": "लग" + VIRAMA, "धु": "धो", "रु": "रो", "छु": "छो", "खियाउ": "खिया"}
_IMPERATIVE_MIDDLE = {"दि": "देऊ", "लि": "लेऊ", "धु": "धोऊ", "रु": "रोऊ", "हु": "होऊ", "जा": "जाऊ"}
_SIGNS = {"ए": "े", "इ": "ि", "ई": "ी"}


def slot(agreement: Agreement) -> str:
    """The paradigm slot of an agreement."""
    person, plural, honor, feminine = agreement
    if person == 1:
        return "1p" if plural else "1s"
    if honor == 2:
        return "h"
    if person == 2:
        return "2m" if honor or plural else "2l"
    if plural:
        return "3p"
    return ("3pf" if feminine else "3p") if honor else ("3sf" if feminine else "3s")


def stem(infinitive: str) -> str:
    """गर्नु -> गर्; जानु -> जा; फर्कनु -> फर्क."""
    if not infinitive.endswith("नु"):
        raise ValueError(f"not an infinitive: {infinitive}")
    return infinitive[:-2]


def _closed(word: str) -> bool:
    return word.endswith(VIRAMA)


def _bare(word: str) -> bool:
    """A stem that ends in a consonant letter with its inherent vowel (फर्क, चाह): two-faced, see `past_base`."""
    return "\u0915" <= word[-1] <= "\u0939"


def present_base(root: str) -> str:
    """What -छ follows: गर् -> गर्, जा -> जान्, आउ -> आउँ."""
    if _closed(root):
        return root
    return root + ("ँ" if root.endswith("उ") else "न" + VIRAMA)


def nasal_base(root: str) -> str:
    """What -दै, -दा follow: गर् -> गर्, जा -> जाँ, आउ -> आउँ."""
    return root if _closed(root) else root + "ँ"


def past_base(root: str) -> str:
    """What the past endings follow: गर् -> गर्, जा -> ग, आउ -> आ, धु -> धो; फर्क -> फर्क् (closed)."""
    if root in _PAST_BASES:
        return _PAST_BASES[root]
    if root.endswith("उ"):
        return root[:-1]
    return root + VIRAMA if _bare(root) else root


def join(base: str, ending: str) -> str:
    """Attach an ending that begins with ए, इ, ई or य: a closed base takes the vowel sign; र् before य takes a ZWJ."""
    if not _closed(base):
        return base + ending
    if ending[0] in _SIGNS:
        return base[:-1] + _SIGNS[ending[0]] + ending[1:]
    if base.endswith("र" + VIRAMA):
        return base + ZWJ + ending
    return base + ending


@cache
def finite(infinitive: str, tense: str, negative: bool, where: str) -> tuple[str, str]:
    """The finite verb as (main word, auxiliary or ""): गरिरहेको छ is ("गरिरहेको", "छ")."""
    root = stem(infinitive)
    past = past_base(root)
    if tense in ("progressive", "past_progressive", "perfect"):
        return _compound(infinitive, tense, negative, where)
    if where == "h":
        endings = {
            "present": ("हुन्छ", "हुन्न"), "past": ("भयो", "भएन"), "future": ("हुनेछ", "हुनेछैन"),
            "used_to": ("हुन्थ्यो", "हुन्नथ्यो"),
        }  # fmt: skip
        return infinitive + endings[tense][negative], ""
    if tense == "present":
        return (nasal_base(root) + _NEGATIVE[where] if negative else present_base(root) + _PRESENT[where]), ""
    if tense == "past":
        return join(past, (_PAST_NEGATIVE if negative else _PAST_VOWEL)[where]), ""
    if tense == "future":
        return root + "ने" + (_NOT if negative else _PRESENT)[where], ""
    if tense == "used_to" and not negative:
        return present_base(root) + _USED[where], ""
    raise ValueError(f"no form for {tense}, negative={negative}")


def _compound(infinitive: str, tense: str, negative: bool, where: str) -> tuple[str, str]:
    past = past_base(stem(infinitive))
    was = tense == "past_progressive"
    # The honorific participle (गर्नुभएको) is followed by the plain third person auxiliary.
    at = "3s" if where == "h" else where
    auxiliary = ((WAS_NOT if negative else WAS) if was else (EXIST_NOT if negative else EXIST))[at]
    if tense == "perfect":
        main = infinitive + "भएको" if where == "h" else join(past, "ए") + _PARTICIPLE[where]
    elif where == "h":
        main = join(past, "इ") + "रहनुभएको"
    else:
        main = join(past, "इ") + "रहे" + _PARTICIPLE[where]
    return main, auxiliary


@cache
def nonfinite(infinitive: str, form: str, agreement: str = "को") -> str:
    """ने गर्ने, एको गरेको (agreeing: को का की), एर गरेर, दा गर्दा, न गर्न, must गर्नुपर्छ / गर्नुपर्‍यो."""
    root = stem(infinitive)
    if form == "ने":
        return root + "ने"
    if form == "एको":
        return join(past_base(root), "ए") + agreement
    if form == "एर":
        return join(past_base(root), "ए") + "र"
    if form == "दा":
        return nasal_base(root) + "दा"
    if form == "न":
        return root + "न"
    raise ValueError(form)


def must(infinitive: str, past: bool) -> str:
    """Obligation, one word that does not agree: गर्नुपर्छ, गर्नुपर्‍यो."""
    return infinitive + ("पर" + VIRAMA + ZWJ + "यो" if past else "पर्छ")


def imperative(infinitive: str, honor: int, negative: bool) -> str:
    """गर (तिमी), गर्नुहोस् (तपाईं); negative with न-."""
    if honor == 2:
        form = infinitive + "होस" + VIRAMA
    else:
        root = stem(infinitive)
        if root in _IMPERATIVE_MIDDLE:
            form = _IMPERATIVE_MIDDLE[root]
        elif _closed(root):
            form = root[:-1]
        elif root.endswith("उ"):
            form = root[:-1] + "ऊ"
        else:
            form = root if _bare(root) else root + "ऊ"
    return "न" + form if negative else form


def ending(agreement: Agreement) -> str:
    """को, का or की by the noun or subject that a genitive, participle or adjective agrees with."""
    if agreement.plural:
        return "का"
    if agreement.feminine:
        return "की"
    return "का" if agreement.honor else "को"


def inflect_o(word: str, agreement: Agreement) -> str:
    """A word in -ो (सानो, मेरो, आफ्नो, रामको) made to agree; any other word is unchanged."""
    if not word.endswith("ो"):
        return word
    return word[:-1] + ending(agreement)[1:]


def adjective_form(adjective: Adjective, agreement: Agreement) -> str:
    """The adjective as it agrees; compounds in -एको (तिर्खाएको) agree too."""
    return inflect_o(adjective.nepali, agreement)


def noun_stem(noun: Noun | Name, plural: bool, cased: bool) -> str:
    """The noun before its case marker: केटो, केटाहरू; only animate nouns change before a case (केटाले, डोकोमा)."""
    word = noun.nepali
    if isinstance(noun, Noun) and noun.alternates and (plural or (cased and noun.animate)):
        word = word[:-1] + "ा"
    return word


def pronoun_case(pronoun: Pronoun, case: str) -> str:
    """A pronoun with a case marker: "" ले लाई सँग मा बाट, or को for the genitive in its citation form."""
    if not case:
        return pronoun.nepali
    if case == "ले":
        return pronoun.ergative
    if case == "को":
        return pronoun.genitive
    if case == "सँग" and pronoun.nepali in ("ऊ", "उनी"):
        return pronoun.nepali + case
    return pronoun.oblique + case
