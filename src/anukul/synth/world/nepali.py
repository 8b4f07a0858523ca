"""Nepali clauses as dependency trees: verb-final order, split ergativity, copulas, subordination and questions."""

from __future__ import annotations

from dataclasses import replace

from anukul.synth.world.grammar import Adjective, Agreement, Clause, Meaning, Name, Phrase, Pronoun
from anukul.synth.world.morphology_nepali import slot
from anukul.synth.world.nepali_phrases import (
    THIRD,
    adjective_node,
    adjunct_node,
    adverb_node,
    agreement,
    phrase_node,
)
from anukul.synth.world.nepali_predicates import controller, copula_form, verb_feats, verb_node, verbal
from anukul.synth.world.trees import Node

_MARKS = {"if": "भने", "because": "किनभने", "that": "कि", "quote": "भनेर", "and": "र", "but": "तर", "or": "वा"}
_MARK_GLOSS = {
    "भने": "if",
    "किनभने": "because",
    "कि": "that",
    "भनेर": "saying",
    "र": "and",
    "तर": "but",
    "वा": "or",
}


def sentence(meaning: Meaning) -> Node:
    """The Nepali tree of a meaning, final punctuation included."""
    root = clause_node(meaning.clause)
    mark = "?" if meaning.clause.asked else "।"
    root.right.append(Node(mark, mark, "PUNCT", "punct", glued=True))
    return root


def clause_node(
    clause: Clause, form: str = "finite", head: Agreement = THIRD, bare_subject: bool = False
) -> Node:
    """A clause's predicate with its dependents. `form`: finite or ने, एको, एर, दा, न; `head`: what एको agrees with.

    `bare_subject` leaves the subject out (participle clauses and clauses that share it).
    """
    node = _copular(clause) if clause.verb is None else verbal(clause, form, head)
    left: list[Node] = []
    _link_before(clause, left)
    times = [a for a in clause.adjuncts if a.role == "time"]
    others = [a for a in clause.adjuncts if a.role != "time"]
    if clause.asked == "polar":
        left.append(Node("के", "के", "PART", "advmod", "PartType=Int", "Q"))
    if clause.fronted:
        left += [adjunct_node(a) for a in times]
    # The question word and the weather stand just before the verb: किताब कसले किन्यो? सहरमा पानी पर्‍यो।
    in_place = clause.asked == "subject" or (clause.verb is not None and "late" in clause.verb.options)
    if not in_place and not bare_subject and not clause.command and clause.kind not in ("exist", "ambient"):
        left.append(_subject(clause, form))
    if clause.link == "after":
        assert clause.linked is not None
        left.append(_adverbial(clause_node(clause.linked, "एर", bare_subject=True)))
    if not clause.fronted:
        left += [adjunct_node(a) for a in times]
    if clause.link == "purpose":
        assert clause.linked is not None
        left.append(_adverbial(clause_node(clause.linked, "न", bare_subject=True)))
    if clause.asked == "time":
        left.append(Node("कहिले", "कहिले", "ADV", "advmod", "PronType=Int", "when"))
    inner = [adjunct_node(a) for a in others if a.role != "manner" and a.role != "instrument"]
    if clause.asked == "place" and clause.verb is not None:
        inner.append(Node("कहाँ", "कहाँ", "ADV", "advmod", "PronType=Int", "where"))
    inner += [adjunct_node(a) for a in others if a.role in ("manner", "instrument") and clause.object is None]
    inner += _objects(clause)
    inner += [
        adjunct_node(a) for a in others if a.role in ("manner", "instrument") and clause.object is not None
    ]
    if in_place:
        inner.append(_subject(clause, form))
    if clause.asked == "reason":
        inner.append(Node("किन", "किन", "ADV", "advmod", "PronType=Int", "why"))
    if clause.modal in ("can", "want") and form == "finite":
        # The object and the place belong to the infinitive (भात पकाउन सक्छ), which stands just before the modal.
        node.left[-1].left = inner
        inner = []
    node.left = left + inner + node.left
    _link_after(clause, node)
    return node


def _adverbial(node: Node) -> Node:
    node.deprel = "advcl"
    return node


def _mark(link: str, deprel: str = "mark") -> Node:
    word = _MARKS[link]
    return Node(word, word, "CCONJ" if deprel == "cc" else "SCONJ", deprel, "_", _MARK_GLOSS[word])


def _link_before(clause: Clause, left: list[Node]) -> None:
    """Clauses that stand before everything else: condition, time, quotation, correlative."""
    linked = clause.linked
    if linked is None or clause.link not in ("if", "when", "while", "quote", "whoever"):
        return
    if clause.link == "while":
        left.append(_adverbial(clause_node(linked, "दा")))
        return
    node = clause_node(linked)
    node.deprel = {"if": "advcl", "when": "advcl", "quote": "ccomp", "whoever": "advcl"}[clause.link]
    if clause.link in ("if", "quote"):
        node.right.append(_mark(clause.link))
        left.append(node)
        return
    if clause.link == "when":
        node.left.insert(0, Node("जब", "जब", "ADV", "advmod", "PronType=Rel", "when"))
    node.right.append(Node(",", ",", "PUNCT", "punct", glued=True))
    left.append(node)
    if clause.link == "when":
        left.append(Node("तब", "तब", "ADV", "advmod", "PronType=Dem", "then"))


def _link_after(clause: Clause, node: Node) -> None:
    """Clauses that follow the verb: reason, report, coordination."""
    linked = clause.linked
    if linked is None or clause.link not in ("because", "that", "and", "but", "or"):
        return
    shared = linked.subject == clause.subject and clause.link in ("and", "but", "or")
    second = clause_node(linked, bare_subject=shared)
    if clause.link in ("and", "but", "or"):
        second.deprel = "conj"
        second.left.insert(0, _mark(clause.link, "cc"))
    else:
        second.deprel = "ccomp" if clause.link == "that" else "advcl"
        second.left.insert(0, _mark(clause.link))
    node.right.append(second)


def takes_ergative(clause: Clause, form: str = "finite") -> bool:
    """Whether the subject is marked -ले: transitive and past or perfect, or an obligation."""
    if clause.verb is None:
        return False
    if clause.modal == "must":
        return True
    if not clause.verb.ergative or clause.modal:
        return False
    return form in ("एको", "दा") or (form == "finite" and clause.tense in ("past", "perfect"))


def _subject(clause: Clause, form: str) -> Node:
    ergative = takes_ergative(clause, form)
    if clause.asked == "subject":
        word = "कसले" if ergative else "को"
        case = "Erg" if ergative else "Nom"
        return Node(
            word, "को", "PRON", "nsubj", f"Case={case}|PronType=Int", "who" + ("-ERG" if ergative else "")
        )
    if clause.kind in ("like", "know"):
        return phrase_node(clause.subject, "लाई", "obl")
    if clause.kind == "have":
        return phrase_node(clause.subject, "सँग", "obl")
    return phrase_with_relative(clause.subject, "ले" if ergative else "", "nsubj")


def phrase_with_relative(phrase: Phrase, case: str, deprel: str) -> Node:
    """A noun phrase with its participle clause: आँप बेच्ने मान्छे, रामले किनेको किताब."""
    relative = None
    if phrase.relative is not None:
        form = "एको" if phrase.relative.tense in ("past", "perfect") else "ने"
        inner = phrase.relative
        if phrase.gap == "object":
            inner = replace(inner, object=None)
        relative = clause_node(inner, form, agreement(phrase), bare_subject=phrase.gap == "subject")
        relative.deprel = "acl:relcl"
    return phrase_node(phrase, case, deprel, relative)


def _objects(clause: Clause) -> list[Node]:
    nodes = []
    if clause.recipient is not None:
        nodes.append(phrase_with_relative(clause.recipient, "लाई", "iobj"))
    verb, thing = clause.verb, clause.object
    if clause.asked == "object":
        human = verb is not None and "dative" in verb.options
        word = "कसलाई" if human else "के"
        lemma = "को" if human else "के"
        nodes.append(Node(word, lemma, "PRON", "obj", "PronType=Int", "whom" if human else "what"))
    elif thing is not None and verb is not None:
        nodes.append(_object(clause, thing, "dative" in verb.options))
    if verb is not None and verb.light:
        nodes.append(
            Node(verb.light, verb.light, _light_upos(verb.light), "compound", "_", _light_gloss(verb.light))
        )
    return nodes


def _object(clause: Clause, thing: Phrase, dative: bool) -> Node:
    human = isinstance(thing.head, (Name, Pronoun)) or thing.head.human
    if clause.asked == "count":
        return _how_many(thing, "obj")
    return phrase_with_relative(thing, "लाई" if dative or human else "", "obj")


def _how_many(thing: Phrase, deprel: str) -> Node:
    """कति वटा किताब: like a counted noun, without हरू."""
    node = phrase_with_relative(replace(thing, plural=False, count=2), "", deprel)
    number = next(child for child in node.left if child.deprel == "nummod")
    number.form = number.lemma = "कति"
    number.upos, number.feats, number.gloss = "DET", "PronType=Int", "how many"
    return node


_LIGHT_GLOSS = {
    "काम": "work", "कुरा": "talk", "आराम": "rest", "मद्दत": "help", "माया": "love", "मन": "mind", "सफा": "clean",
    "बन्द": "closed", "मर्मत": "repair", "सुरु": "start",
}  # fmt: skip


def _light_upos(word: str) -> str:
    return "ADJ" if word in ("सफा", "बन्द") else "NOUN"


def _light_gloss(word: str) -> str:
    return _LIGHT_GLOSS.get(word, "")


def _copular(clause: Clause) -> Node:
    where = slot(controller(clause))
    feats = verb_feats(clause.tense, clause.negative, where)
    if clause.kind == "know":
        form = copula_form("exist", clause.tense, clause.negative, where)
        node = Node(form, "हुनु", "VERB", "root", feats, "be" + (".NEG" if clause.negative else ""))
        node.left.append(Node("थाहा", "थाहा", "NOUN", "nsubj", "_", "knowledge"))
        return node
    if clause.kind == "like":
        return _like(clause, where)
    form = copula_form(clause.kind, clause.tense, clause.negative, where)
    gloss = (
        "be" + {"past": ".PAST", "future": ".FUT"}.get(clause.tense, "") + (".NEG" if clause.negative else "")
    )
    if clause.kind in ("exist", "have", "ambient"):
        node = Node(form, "हुनु", "VERB", "root", feats, gloss)
        if clause.object is not None:
            if clause.degree is not None:
                node.left.append(adverb_node(clause.degree))
            counted = clause.asked == "count"
            thing = clause.object
            node.left.append(
                _how_many(thing, "nsubj") if counted else phrase_with_relative(thing, "", "nsubj")
            )
        return node
    node = _complement(clause)
    node.right.append(Node(form, "हुनु", "AUX", "cop", feats, gloss))
    return node


def _like(clause: Clause, where: str) -> Node:
    assert clause.object is not None
    node = verb_node("पर्नु", "fall", clause.tense, clause.negative, where)
    node.left.append(phrase_with_relative(clause.object, "", "nsubj"))
    node.left.append(Node("मन", "मन", "NOUN", "compound", "_", "mind"))
    return node


def _complement(clause: Clause) -> Node:
    complement = clause.complement
    if isinstance(complement, Adjective):
        node = adjective_node(complement, agreement(clause.subject), "root")
        if clause.degree is not None:
            node.left.append(adverb_node(clause.degree))
        return node
    if complement is None:  # asked: "place" कहाँ or "object" के
        word, gloss = ("कहाँ", "where") if clause.asked == "place" else ("के", "what")
        return Node(word, word, "ADV" if word == "कहाँ" else "PRON", "root", "PronType=Int", gloss)
    return phrase_with_relative(complement, "मा" if clause.kind == "place" else "", "root")
