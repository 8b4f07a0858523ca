"""English verb groups: auxiliaries, do-support, modals and infinitives."""

from __future__ import annotations

from functools import cache

from anukul.synth.world.english_phrases import PLURAL_ONLY, word
from anukul.synth.world.grammar import Agreement, Clause, Noun, Phrase
from anukul.synth.world.lexicon import english_gerund, english_third
from anukul.synth.world.nepali_phrases import THIRD, agreement
from anukul.synth.world.trees import Node

BE = {"present": ("am", "is", "are"), "past": ("was", "was", "were")}
# Verbs that stand in for Nepali constructions with हुनु and पर्नु: possession, liking, knowledge.
PLAIN = {
    "have": ("have", "had", "had"), "like": ("like", "liked", "liked"), "know": ("know", "knew", "known"),
}  # fmt: skip


def person_column(clause: Clause) -> int:
    """The column of `BE`: 0 I, 1 he, 2 we, you, they."""
    number = THIRD if clause.asked == "subject" else _agreement(clause.subject)
    if number.plural or number.person == 2:
        return 2
    return 0 if number.person == 1 else 1


def _agreement(subject: Phrase) -> Agreement:
    number = agreement(subject)
    if isinstance(subject.head, Noun) and subject.joined is None and subject.head.mass:
        return Agreement(3, plural_mass(subject.head), 0, False)
    return number


def plural_mass(noun: Noun) -> bool:
    """Whether an uncounted noun is plural in English (lentils, trousers)."""
    return noun.mass and noun.english in PLURAL_ONLY


@cache
def _verb_form(base: str, past: str, participle: str, form: str) -> str:
    return {
        "base": base, "third": "has" if base == "have" else english_third(base), "past": past,
        "participle": participle, "ing": english_gerund(base),
    }[form]  # fmt: skip


_FEATS = {
    "base": "VerbForm=Inf", "present": "Mood=Ind|Tense=Pres|VerbForm=Fin",
    "third": "Mood=Ind|Number=Sing|Person=3|Tense=Pres|VerbForm=Fin", "past": "Mood=Ind|Tense=Past|VerbForm=Fin",
    "participle": "Tense=Past|VerbForm=Part", "ing": "Tense=Pres|VerbForm=Part",
}  # fmt: skip


def _verb(forms: tuple[str, str, str], form: str, deprel: str = "root") -> Node:
    shown = _verb_form(*forms, "base" if form == "present" else form)
    return word(shown, forms[0], "VERB", deprel, _FEATS[form])


def auxiliary(form: str, lemma: str) -> Node:
    """An auxiliary before its verb."""
    return word(form, lemma, "AUX", "aux", "VerbForm=Fin")


def verb_group(clause: Clause, form: str) -> tuple[list[Node], Node]:
    """The words before the main word that an inversion may move, and the main word."""
    forms = PLAIN[clause.kind] if clause.verb is None else clause.verb.english
    if form == "to":
        node = _verb(forms, "base")
        node.left.append(word("to", "to", "PART", "mark"))
        return [], node
    if form == "ing":
        node = _verb(forms, "ing")
        node.left.append(word("after", "after", "SCONJ", "mark"))
        return [], node
    if clause.command:
        return ([auxiliary("do", "do"), _not()] if clause.negative else []), _verb(forms, "base")
    if clause.modal == "want":
        helpers, node = _tensed(("want", "wanted", "wanted"), clause)
        node.right.append(_infinitive(forms))
        return helpers, node
    if clause.modal:
        denial = negation(clause)
        for word_ in denial:
            word_.glued = clause.modal == "can"  # cannot
        return [auxiliary(clause.modal, clause.modal), *denial], _verb(forms, "base")
    if clause.tense == "used_to":
        node = word("used", "use", "VERB", "root", _FEATS["past"])
        node.right.append(_infinitive(forms))
        return [], node
    return _tensed(forms, clause)


def _infinitive(forms: tuple[str, str, str]) -> Node:
    node = _verb(forms, "base", "xcomp")
    node.left.append(word("to", "to", "PART", "mark"))
    return node


def _not() -> Node:
    return word("not", "not", "PART", "advmod", "Polarity=Neg")


def negation(clause: Clause) -> list[Node]:
    """The word "not" where the clause is negative."""
    return [_not()] if clause.negative else []


def _tensed(forms: tuple[str, str, str], clause: Clause) -> tuple[list[Node], Node]:
    who, tense = person_column(clause), clause.tense
    if tense == "future":
        return [auxiliary("will", "will"), *negation(clause)], _verb(forms, "base")
    if tense in ("progressive", "past_progressive"):
        be = BE["past" if tense == "past_progressive" else "present"][who]
        return [auxiliary(be, "be"), *negation(clause)], _verb(forms, "ing")
    if tense == "perfect":
        return [auxiliary("has" if who == 1 else "have", "have"), *negation(clause)], _verb(
            forms, "participle"
        )
    if clause.negative or (clause.asked and clause.asked != "subject"):
        do = "did" if tense == "past" else "does" if who == 1 else "do"
        return [auxiliary(do, "do"), *negation(clause)], _verb(forms, "base")
    if tense == "past":
        return [], _verb(forms, "past")
    return [], _verb(forms, "third" if who == 1 else "present")
