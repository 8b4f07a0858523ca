"""English noun phrases and adjuncts as dependency nodes, and the small closed words."""

from __future__ import annotations

from anukul.synth.world.grammar import Adjective, Adjunct, Adverb, Agreement, Name, Noun, Phrase, Pronoun
from anukul.synth.world.modifiers import ENGLISH_NUMERALS
from anukul.synth.world.nepali_phrases import agreement
from anukul.synth.world.trees import Node

OBJECT_FORMS = {"I": "me", "we": "us", "he": "him", "she": "her", "they": "them", "you": "you", "it": "it"}
POSSESSIVES = {"I": "my", "we": "our", "he": "his", "she": "her", "they": "their", "you": "your", "it": "its"}

PLURAL_ONLY = ("clothes", "trousers", "sweets", "lentils", "vegetables", "cards")


def word(form: str, lemma: str, upos: str, deprel: str, feats: str = "_") -> Node:
    """A node without gloss: the English side is its own gloss."""
    return Node(form, lemma, upos, deprel, feats)


def phrase_node(
    phrase: Phrase, deprel: str, subject: Phrase | None = None, relative: Node | None = None
) -> Node:
    """A noun phrase; `subject` is whom "own" refers to, `relative` a finished relative clause."""
    node = _head(phrase, deprel)
    left: list[Node] = []
    if phrase.own and subject is not None:
        left.append(_own(subject))
    elif phrase.owner is not None:
        left.append(_possessor(phrase.owner, subject))
    if phrase.determiner in ("this", "that"):
        plural = phrase.plural or phrase.count > 1
        plural = plural or (isinstance(phrase.head, Noun) and phrase.head.english in PLURAL_ONLY)
        form = {"this": "these", "that": "those"}[phrase.determiner] if plural else phrase.determiner
        left.append(word(form, phrase.determiner, "DET", "det", f"Number={_number(plural)}|PronType=Dem"))
    if phrase.count > 1:
        form = str(phrase.count) if phrase.digits else ENGLISH_NUMERALS[phrase.count]
        left.append(word(form, form, "NUM", "nummod", "NumType=Card"))
    if phrase.adjective is not None:
        left.append(word(phrase.adjective.english, phrase.adjective.english, "ADJ", "amod", "Degree=Pos"))
    node.left = left + node.left
    if phrase.determiner in ("a", "the") or phrase.count == 1:
        node.left.insert(0, _article(phrase.determiner or "a", node))
    if relative is not None:
        node.right.append(relative)
    if phrase.joined is not None:
        second = phrase_node(phrase.joined, "conj", subject)
        second.left.insert(0, word("and", "and", "CCONJ", "cc"))
        node.right.append(second)
    return node


def _article(kind: str, node: Node) -> Node:
    if kind == "the":
        return word("the", "the", "DET", "det", "Definite=Def|PronType=Art")
    first = node
    while first.left:
        first = first.left[0]
    form = "an" if first.form[0] in "aeiou" and not first.form.startswith(("one", "uni")) else "a"
    return word(form, "a", "DET", "det", "Definite=Ind|PronType=Art")


def _number(plural: bool) -> str:
    return "Plur" if plural else "Sing"


def _head(phrase: Phrase, deprel: str) -> Node:
    head = phrase.head
    if isinstance(head, Pronoun):
        objective = not deprel.startswith("nsubj") and deprel != "conj"
        form = OBJECT_FORMS[head.english] if objective else head.english
        return word(
            form, head.english, "PRON", deprel, _pronoun_feats(head.agreement, head.english, objective)
        )
    if isinstance(head, Name):
        parts = head.english.split(" ")
        node = word(parts[0], parts[0], "PROPN", deprel, "Number=Sing")
        node.right += [word(part, part, "PROPN", "flat", "Number=Sing") for part in parts[1:]]
        return node
    plural = phrase.plural or phrase.count > 1 or phrase.generic
    return noun_node(head, plural, deprel)


def noun_node(noun: Noun, plural: bool, deprel: str) -> Node:
    """A noun, which may be written as several words: police officer (compound), pair of shoes (nmod)."""
    form = noun.english_plural if plural else noun.english
    forms, lemmas = form.split(" "), noun.english.split(" ")
    plural_form = plural or noun.english in PLURAL_ONLY
    upos = "PROPN" if noun.english[0].isupper() else "NOUN"
    feats = f"Number={_number(plural_form)}"
    if len(forms) == 1:
        return word(form, lemmas[0], upos, deprel, feats)
    if forms[1] == "of":
        node = word(forms[0], lemmas[0], "NOUN", deprel, feats)
        inner = word(forms[2], lemmas[2], "NOUN", "nmod", "Number=Plur")
        inner.left.append(word("of", "of", "ADP", "case"))
        node.right.append(inner)
        return node
    node = word(forms[-1], lemmas[-1], upos, deprel, feats)
    node.left += [word(part, part, "NOUN", "compound", "Number=Sing") for part in forms[:-1]]
    return node


def _pronoun_feats(number: Agreement, form: str, objective: bool) -> str:
    gender = {"he": "Gender=Masc|", "she": "Gender=Fem|"}.get(form, "")
    case = "Acc" if objective else "Nom"
    return f"Case={case}|{gender}Number={_number(number.plural)}|Person={number.person}|PronType=Prs"


def _own(subject: Phrase) -> Node:
    head = subject.head
    if subject.joined is not None or (isinstance(head, Noun) and (subject.plural or subject.count > 1)):
        key = "they" if agreement(subject).person == 3 else "we"
    elif isinstance(head, Pronoun):
        key = head.english
    elif isinstance(head, Noun) and not head.human:
        key = "it"
    else:
        key = "she" if head.feminine else "he"
    return word(POSSESSIVES[key], POSSESSIVES[key], "PRON", "nmod:poss", "Case=Gen|Poss=Yes|PronType=Prs")


def _possessor(owner: Phrase, subject: Phrase | None) -> Node:
    if isinstance(owner.head, Pronoun):
        form = POSSESSIVES[owner.head.english]
        return word(form, form, "PRON", "nmod:poss", "Case=Gen|Poss=Yes|PronType=Prs")
    node = phrase_node(owner, "nmod:poss", subject)
    last = node
    while last.right:
        last = last.right[-1]
    clitic = word("'" if last.form.endswith("s") and last.upos == "NOUN" else "'s", "'s", "PART", "case")
    clitic.glued = True
    node.right.append(clitic)
    return node


def adjunct_node(adjunct: Adjunct, subject: Phrase | None) -> Node:
    """An adjunct: an adverb, or a noun phrase under its preposition."""
    value = adjunct.value
    if isinstance(value, Adverb):
        return adverb_node(value)
    node = phrase_node(value, "obl", subject)
    place = value.head.place if isinstance(value.head, Noun) else "in"
    forms = {"place": place, "goal": "to", "source": "from", "with": "with", "instrument": "with"}
    node.left.insert(0, word(forms[adjunct.role], forms[adjunct.role], "ADP", "case"))
    return node


_SMALL = {"in": "ADP", "at": "ADP", "on": "ADP", "the": "DET", "every": "DET", "these": "DET"}


def adverb_node(adverb: Adverb) -> Node:
    """An adverb or a fixed time phrase (in the morning, last week)."""
    parts = adverb.english.split(" ")
    if len(parts) == 1:
        temporal = adverb.kind in ("day", "past", "future")
        upos = "NOUN" if temporal else "ADV"
        return word(parts[0], parts[0], upos, "obl:tmod" if temporal else "advmod")
    if parts[-1] == "away":
        node = word("away", "away", "ADV", "advmod")
        node.left.append(word("far", "far", "ADV", "advmod"))
        return node
    upos = "PROPN" if parts[-1][0].isupper() else "NOUN"
    node = word(
        parts[-1], parts[-1].removesuffix("s"), upos, "obl" if parts[0] in ("in", "at", "on") else "obl:tmod"
    )
    for part in parts[:-1]:
        kind = _SMALL.get(part, "ADJ")
        node.left.append(word(part, part, kind, {"ADP": "case", "DET": "det", "ADJ": "amod"}[kind]))
    return node


def adjective_node(adjective: Adjective, deprel: str) -> Node:
    """A predicate adjective."""
    return word(adjective.english, adjective.english, "ADJ", deprel, "Degree=Pos")
