"""Nepali predicates: finite verbs with their auxiliaries, modals, participles and the copulas, with their features."""

from __future__ import annotations

from functools import cache

from anukul.synth.world import morphology_nepali as morphology
from anukul.synth.world.grammar import Agreement, Clause
from anukul.synth.world.morphology_nepali import ENGLISH_SLOTS, ending, slot
from anukul.synth.world.nepali_phrases import THIRD, agreement
from anukul.synth.world.trees import Node

_TENSE_FEATS = {
    "present": "Aspect=Imp|{}Tense=Pres|VerbForm=Fin", "past": "Aspect=Perf|{}Tense=Past|VerbForm=Fin",
    "future": "{}Tense=Fut|VerbForm=Fin", "used_to": "Aspect=Hab|{}Tense=Past|VerbForm=Fin",
    "progressive": "Aspect=Prog|{}VerbForm=Part", "past_progressive": "Aspect=Prog|{}VerbForm=Part",
    "perfect": "Aspect=Perf|{}VerbForm=Part",
}  # fmt: skip
_POLITE = {"2l": "Infm", "2m": "Form", "h": "Elev", "3s": "Infm", "3sf": "Infm", "3pf": "Form"}
_TENSE_GLOSS = {
    "present": "PRES", "past": "PAST", "future": "FUT", "used_to": "HAB", "progressive": "PROG",
    "past_progressive": "PROG", "perfect": "PERF",
}  # fmt: skip


@cache
def _agreement_feats(where: str) -> tuple[tuple[str, str], ...]:
    person = where[0] if where[0].isdigit() else "3"
    number = "Plur" if where[1:] == "p" else "Sing"
    parts = [("Number", number), ("Person", person)]
    if where in ("3sf", "3pf"):
        parts.append(("Gender", "Fem"))
    if where in _POLITE:
        parts.append(("Polite", _POLITE[where]))
    return tuple(parts)


@cache
def verb_feats(tense: str, negative: bool, where: str) -> str:
    """CoNLL-U features of a finite verb, sorted by name."""
    pairs = dict(part.split("=") for part in _TENSE_FEATS[tense].format("").split("|"))
    pairs.update(_agreement_feats(where))
    if negative:
        pairs["Polarity"] = "Neg"
    return "|".join(f"{name}={pairs[name]}" for name in sorted(pairs))


def verbal(clause: Clause, form: str, head: Agreement) -> Node:
    """The verb of an action clause; see `nepali.clause_node` for `form` and `head`."""
    verb = clause.verb
    assert verb is not None
    if form != "finite":
        return _nonfinite(clause, form, head)
    if clause.command:
        word = morphology.imperative(verb.nepali, clause.command, clause.negative)
        feats = f"Mood=Imp|Person=2|Polite={'Elev' if clause.command == 2 else 'Form'}"
        return Node(word, verb.nepali, "VERB", "root", feats, verb.english[0] + ".IMP")
    where = slot(controller(clause))
    if clause.modal == "must":
        word = morphology.must(verb.nepali, clause.tense == "past")
        return Node(word, verb.nepali, "VERB", "root", "Mood=Nec|VerbForm=Fin", verb.english[0] + ".must")
    if clause.modal:
        return _modal(clause, where)
    return verb_node(verb.nepali, verb.english[0], clause.tense, clause.negative, where)


def verb_node(infinitive: str, gloss: str, tense: str, negative: bool, where: str) -> Node:
    """A finite verb, its auxiliary as dependent: गरिरहेको ← छ (aux)."""
    main, auxiliary = morphology.finite(infinitive, tense, negative, where)
    tag = (
        f"{gloss}.{_TENSE_GLOSS[tense]}{'.NEG' if negative and not auxiliary else ''}.{ENGLISH_SLOTS[where]}"
    )
    node = Node(main, infinitive, "VERB", "root", verb_feats(tense, negative and not auxiliary, where), tag)
    if auxiliary:
        past = tense == "past_progressive"
        feats = verb_feats("past" if past else "present", negative, where)
        aux = "be" + (".PAST" if past else "") + (".NEG" if negative else "")
        node.right.append(Node(auxiliary, "हुनु", "AUX", "aux", feats, aux))
    return node


def controller(clause: Clause) -> Agreement:
    """What the verb agrees with: who → low singular; possession and liking → the thing; there is → the thing."""
    if clause.asked == "subject":
        return THIRD
    if clause.kind in ("like", "have", "exist", "ambient"):
        return agreement(clause.object) if clause.object is not None else THIRD
    if clause.kind == "know":
        return THIRD
    return agreement(clause.subject)


def _modal(clause: Clause, where: str) -> Node:
    assert clause.verb is not None
    infinitive, gloss = ("सक्नु", "can") if clause.modal == "can" else ("चाहनु", "want")
    node = verb_node(infinitive, gloss, clause.tense, clause.negative, where)
    form = morphology.nonfinite(clause.verb.nepali, "न")
    node.left.append(
        Node(form, clause.verb.nepali, "VERB", "xcomp", "VerbForm=Inf", clause.verb.english[0] + ".INF")
    )
    return node


_FORM_FEATS = {
    "ने": "Aspect=Imp|VerbForm=Part", "एको": "Aspect=Perf|VerbForm=Part", "एर": "VerbForm=Conv",
    "दा": "Aspect=Imp|VerbForm=Conv", "न": "VerbForm=Inf",
}  # fmt: skip
_FORM_GLOSS = {"ने": "PTCP", "एको": "PTCP.PAST", "एर": "CVB", "दा": "WHILE", "न": "INF"}


def _nonfinite(clause: Clause, form: str, head: Agreement) -> Node:
    verb = clause.verb
    assert verb is not None
    word = morphology.nonfinite(verb.nepali, form, ending(head) if form == "एको" else "को")
    return Node(
        word, verb.nepali, "VERB", "root", _FORM_FEATS[form], f"{verb.english[0]}.{_FORM_GLOSS[form]}"
    )


def copula_form(kind: str, tense: str, negative: bool, where: str) -> str:
    """हो/छ and their kin: identity uses हो in the present; every kind shares थियो and the future हुनेछ."""
    if tense == "past":
        return (morphology.WAS_NOT if negative else morphology.WAS)[where]
    if tense == "future":
        return morphology.finite("हुनु", "future", negative, where)[0]
    if kind == "identity":
        return (morphology.IDENTITY_NOT if negative else morphology.IDENTITY)[where]
    return (morphology.EXIST_NOT if negative else morphology.EXIST)[where]
