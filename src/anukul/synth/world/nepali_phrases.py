"""Nepali noun phrases and adjuncts as nodes: agreement inside the phrase, case markers attached to the head."""

from __future__ import annotations

from anukul.synth.world.grammar import Adjective, Adjunct, Adverb, Agreement, Name, Noun, Phrase, Pronoun
from anukul.synth.world.modifiers import ENGLISH_NUMERALS, NUMERALS
from anukul.synth.world.morphology_nepali import adjective_form, ending, inflect_o, noun_stem, pronoun_case
from anukul.synth.world.trees import Node

THIRD = Agreement(3, False, 0, False)
_CASES = {
    "": ("Nom", ""), "ले": ("Erg", "-ERG"), "लाई": ("Dat", "-DAT"), "को": ("Gen", "-GEN"), "मा": ("Loc", "-LOC"),
    "बाट": ("Abl", "-ABL"), "सँग": ("Com", "-COM"),
}  # fmt: skip
_POLITE = ("Infm", "Form", "Elev")
_DEMONSTRATIVES = {
    ("this", False): ("यो", "यस"), ("this", True): ("यी", "यी"),
    ("that", False): ("त्यो", "त्यस"), ("that", True): ("ती", "ती"),
}  # fmt: skip
DIGITS = str.maketrans("0123456789", "०१२३४५६७८९")


def agreement(phrase: Phrase) -> Agreement:
    """What a verb with this subject, or a modifier of this head, agrees with."""
    own = _own_agreement(phrase)
    if phrase.joined is None:
        return own
    other = agreement(phrase.joined)
    return Agreement(min(own.person, other.person), True, 2 if 2 in (own.honor, other.honor) else 1, False)


def features(case: str, number: Agreement, head: Noun | Name | Pronoun) -> str:
    """CoNLL-U features of a nominal, in alphabetical order."""
    parts = [f"Case={_CASES[case][0]}"]
    human = not isinstance(head, Noun) or head.human
    if human and number.person == 3 and not number.plural:
        parts.append("Gender=Fem" if number.feminine else "Gender=Masc")
    parts.append("Number=Plur" if number.plural else "Number=Sing")
    if isinstance(head, Pronoun):
        parts.append(f"Person={number.person}")
        if number.person > 1:
            parts.append(f"Polite={_POLITE[number.honor]}")
        parts.append("PronType=Prs")
    return "|".join(parts)


def phrase_node(phrase: Phrase, case: str, deprel: str, relative: Node | None = None) -> Node:
    """A noun phrase with `case` attached to its head. `relative` is the participle clause, realised by the caller."""
    node = _head(phrase, case, deprel)
    number = _own_agreement(phrase)
    left = node.left
    if phrase.own:
        form = inflect_o("आफ्नो", number)
        left.append(Node(form, "आफ्नो", "PRON", "nmod:poss", "Case=Gen|Poss=Yes|Reflex=Yes", "own"))
    elif phrase.owner is not None:
        left.append(_genitive(phrase.owner, number))
    if relative is not None:
        left.append(relative)
    if phrase.determiner in ("this", "that"):
        left.append(_demonstrative(phrase, number, bool(case)))
    if phrase.count:
        left.append(_numeral(phrase))
    if phrase.adjective is not None:
        left.append(adjective_node(phrase.adjective, number, "amod"))
    if phrase.joined is not None:
        second = phrase_node(phrase.joined, case, "conj")
        second.left.insert(0, Node("र", "र", "CCONJ", "cc", "_", "and"))
        node.right.append(second)
        _strip_case(phrase, node, case)
    return node


def _strip_case(phrase: Phrase, node: Node, case: str) -> None:
    # In राम र सीताले only the last conjunct carries the marker; a pronoun keeps its own form (मैले र सीताले is avoided).
    if case and not isinstance(phrase.head, Pronoun):
        bare = _head(phrase, "", "conj")
        node.form, node.feats, node.gloss = bare.form, bare.feats, bare.gloss


def _own_agreement(phrase: Phrase) -> Agreement:
    head = phrase.head
    if isinstance(head, Noun):
        return Agreement(3, phrase.plural or phrase.count > 1, head.honor, head.feminine)
    if isinstance(head, Name):
        return Agreement(3, False, int(head.person), head.feminine)
    return head.agreement


def _head(phrase: Phrase, case: str, deprel: str) -> Node:
    head = phrase.head
    number = _own_agreement(phrase)
    gloss = _CASES[case][1]
    if isinstance(head, Pronoun):
        form = pronoun_case(head, case)
        return Node(form, head.nepali, "PRON", deprel, features(case, number, head), head.english + gloss)
    stem = noun_stem(head, number.plural, bool(case))
    if phrase.plural and not phrase.count:
        stem += "हरू"
        gloss = "-PL" + gloss
    upos = "NOUN" if isinstance(head, Noun) else "PROPN"
    return Node(stem + case, head.nepali, upos, deprel, features(case, number, head), head.english + gloss)


def _genitive(owner: Phrase, number: Agreement) -> Node:
    node = phrase_node(owner, "को", "nmod:poss")
    last = node
    while last.right:
        last = last.right[-1]
    last.form = inflect_o(last.form, number)
    return node


def _demonstrative(phrase: Phrase, number: Agreement, cased: bool) -> Node:
    # A respected person takes the plural demonstrative (ती किसान आए); before a case the singular is यस, त्यस.
    many = number.plural or number.honor == 1
    word = "this" if phrase.determiner == "this" else "that"
    plain, oblique = _DEMONSTRATIVES[word, many]
    lemma = _DEMONSTRATIVES[word, False][0]
    return Node(oblique if cased else plain, lemma, "DET", "det", "PronType=Dem", word)


def _numeral(phrase: Phrase) -> Node:
    count, head = phrase.count, phrase.head
    human = isinstance(head, Noun) and head.human
    form = str(count).translate(DIGITS) if phrase.digits else NUMERALS[count]
    gloss = ENGLISH_NUMERALS[count]
    if count == 1 and not human:
        return Node("एउटा", "एउटा", "NUM", "nummod", "NumType=Card", "one")
    node = Node(form, form, "NUM", "nummod", "NumType=Card", gloss)
    classifier = "जना" if human else "वटा"
    node.right.append(Node(classifier, classifier, "NOUN", "clf", "_", "CLF"))
    return node


def adjective_node(adjective: Adjective, number: Agreement, deprel: str) -> Node:
    """An adjective made to agree, with Gender and Number where it shows them."""
    form = adjective_form(adjective, number)
    feats = "_"
    if adjective.nepali.endswith("ो"):
        feminine = ending(number) == "की"
        gender = "Fem" if feminine else "Masc"
        feats = f"Gender={gender}|Number={'Plur' if ending(number) == 'का' else 'Sing'}"
    return Node(form, adjective.nepali, "ADJ", deprel, feats, adjective.english)


def adverb_node(adverb: Adverb, deprel: str = "advmod") -> Node:
    """An adverb; of two words (हरेक दिन) the second is the head and takes `obl`."""
    first, _, last = adverb.nepali.rpartition(" ")
    if not first:
        upos = "NOUN" if last.endswith("बार") else "ADV"
        return Node(last, last, upos, "obl" if upos == "NOUN" else deprel, "_", adverb.english)
    glosses = adverb.english.split(" ")
    upos = "DET" if first == "हरेक" else "ADJ"
    node = Node(last, last, "NOUN", "obl", "Case=Nom|Number=Sing", glosses[-1])
    node.left.append(Node(first, first, upos, "det" if upos == "DET" else "amod", "_", glosses[0]))
    return node


_ROLE_CASE = {"place": "मा", "goal": "", "source": "बाट", "with": "सँग", "instrument": "ले"}


def adjunct_node(adjunct: Adjunct) -> Node:
    """An adjunct: an adverb, or a noun phrase in the case of its role (a goal is bare: बजार गयो)."""
    if isinstance(adjunct.value, Adverb):
        return adverb_node(adjunct.value)
    node = phrase_node(adjunct.value, _ROLE_CASE[adjunct.role], "obl")
    if adjunct.role == "instrument":
        node.feats = node.feats.replace("Case=Erg", "Case=Ins")
        node.gloss = node.gloss.replace("-ERG", "-INS")
    return node
