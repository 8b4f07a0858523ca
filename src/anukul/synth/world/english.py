"""English clauses as dependency trees: auxiliaries, do-support, inversion, subordination and questions."""

from __future__ import annotations

from dataclasses import replace

from anukul.synth.world.english_phrases import (
    adjective_node,
    adjunct_node,
    adverb_node,
    phrase_node,
    word,
)
from anukul.synth.world.english_verbs import BE, PLAIN, auxiliary, negation, person_column, verb_group
from anukul.synth.world.grammar import Adjective, Adjunct, Adverb, Clause, Meaning, Noun, Phrase
from anukul.synth.world.nepali_phrases import agreement
from anukul.synth.world.trees import Node, walk

_ASKED = {"time": "when", "reason": "why", "place": "where"}
_ORDER = {"goal": 0, "source": 1, "place": 2, "spot": 2, "instrument": 3, "with": 4, "manner": 1.5, "time": 6}
_MARKS = {"if": "if", "when": "when", "while": "when", "because": "because", "that": "that", "quote": "that"}
_PREPOSITIONS = ("for", "to")


def sentence(meaning: Meaning) -> Node:
    """The English tree of a meaning: first word capitalised, final punctuation included."""
    root = clause_node(meaning.clause)
    mark = "?" if meaning.clause.asked else "."
    stop = word(mark, mark, "PUNCT", "punct")
    stop.glued = True
    root.right.append(stop)
    first = walk(root)[0]
    first.form = first.form[0].upper() + first.form[1:]
    return root


def clause_node(clause: Clause, form: str = "finite", gap: str = "", shared: bool = False) -> Node:
    """A clause's predicate with its dependents.

    `form`: finite, "to" (to buy), "ing" (after buying); `gap`: what a relative clause leaves out, "subject" or
    "object"; `shared`: the subject is that of the clause it is coordinated with and is not repeated.
    """
    before: list[Node] = []
    _link_before(clause, before)
    if clause.fronted:
        before += [adjunct_node(a, clause.subject) for a in clause.adjuncts if a.role == "time"]
    if clause.verb is None and clause.kind not in PLAIN:
        helpers, node = _copular(clause)
    else:
        helpers, node = verb_group(clause, form)
    if clause.verb is None and clause.asked in ("place", "object"):
        node.right = [*helpers, *_subject(clause, gap)]
    elif clause.kind == "exist":
        _exist(clause, node, before)
    else:
        subject = [] if form != "finite" or shared or clause.command else _subject(clause, gap)
        inverted = bool(clause.asked) and clause.asked != "subject"
        before += _asked(clause)
        middle = helpers[:1] + subject + helpers[1:] if inverted else subject + helpers
        node.left = before + middle + _frequency(clause) + node.left
        target = next((child for child in node.right if child.deprel == "xcomp"), node)
        target.right += _after(clause, gap, target)
    _link_after(clause, node)
    return node


def _be(clause: Clause, who: int, deprel: str) -> list[Node]:
    if clause.tense == "future":
        return [auxiliary("will", "will"), *negation(clause), word("be", "be", "AUX", deprel, "VerbForm=Inf")]
    form = BE["past" if clause.tense == "past" else "present"][who]
    return [word(form, "be", "AUX", deprel, "VerbForm=Fin"), *negation(clause)]


def _copular(clause: Clause) -> tuple[list[Node], Node]:
    if clause.kind == "exist":
        thing = clause.object
        many = thing is not None and (agreement(thing).plural or clause.asked == "count")
        helpers = _be(clause, 2 if many else 1, "root")
        node = next(child for child in helpers if child.deprel == "root")
        node.upos = "VERB"
        node.left = [
            child for child in helpers if child is not node and helpers.index(child) < helpers.index(node)
        ]
        node.right = helpers[helpers.index(node) + 1 :]
        return [], node
    if clause.kind == "ambient":
        assert isinstance(clause.complement, Adjective)
        node = adjective_node(clause.complement, "root")
        if clause.degree is not None:
            node.left.append(adverb_node(clause.degree))
        return _be(clause, 1, "cop"), node
    helpers = _be(clause, person_column(clause), "cop")
    complement = clause.complement
    if isinstance(complement, Adjective):
        node = adjective_node(complement, "root")
        if clause.degree is not None:
            node.left.append(adverb_node(clause.degree))
        return helpers, node
    if complement is None:
        form = "where" if clause.asked == "place" else "what"
        return helpers, word(form, form, "ADV" if form == "where" else "PRON", "root", "PronType=Int")
    if clause.kind == "place":
        node = adjunct_node(Adjunct("place", complement), clause.subject)
        node.deprel = "root"
        return helpers, node
    return helpers, phrase_with_relative(complement, "root", clause.subject)


def _exist(clause: Clause, node: Node, before: list[Node]) -> None:
    there = word("there", "there", "PRON", "expl")
    thing = clause.object
    assert thing is not None
    places = [adjunct_node(a, None) for a in clause.adjuncts if a.role != "time" or not clause.fronted]
    if clause.asked == "count":
        node.left = [*before, *_asked(clause), *node.left]
        node.right = [there, *node.right, *places]
        return
    node.left = [*before, there, *node.left]
    node.right += [phrase_with_relative(thing, "nsubj", None), *places]


def _asked(clause: Clause) -> list[Node]:
    """The question word at the head of the clause, except where it is the subject or the predicate."""
    if clause.asked in _ASKED:
        return [word(_ASKED[clause.asked], _ASKED[clause.asked], "ADV", "advmod", "PronType=Int")]
    if clause.asked == "object" and clause.verb is not None:
        form = "whom" if "dative" in clause.verb.options else "what"
        return [
            word(
                form, form, "PRON", "obl" if clause.verb.particle in _PREPOSITIONS else "obj", "PronType=Int"
            )
        ]
    if clause.asked == "count" and clause.object is not None:
        many = word("many", "many", "ADJ", "amod", "Degree=Pos")
        many.left.append(word("how", "how", "ADV", "advmod", "PronType=Int"))
        node = phrase_node(clause.object, "nsubj" if clause.kind == "exist" else "obj", clause.subject)
        node.left.insert(0, many)
        return [node]
    return []


def _subject(clause: Clause, gap: str) -> list[Node]:
    if clause.asked == "subject":
        return [word("who", "who", "PRON", "nsubj", "PronType=Int")]
    if gap == "subject":
        human = isinstance(clause.subject.head, Noun) and clause.subject.head.human
        return [word("who" if human else "that", "who" if human else "that", "PRON", "nsubj", "PronType=Rel")]
    if clause.kind == "ambient" or (clause.verb is not None and "weather" in clause.verb.options):
        return [
            word("it", "it", "PRON", "expl" if clause.verb else "nsubj", "Number=Sing|Person=3|PronType=Prs")
        ]
    if clause.link == "whoever" and clause.linked is not None:
        return []
    return [phrase_with_relative(clause.subject, "nsubj", None)]


def phrase_with_relative(phrase: Phrase, deprel: str, subject: Phrase | None) -> Node:
    """A noun phrase with its relative clause: the person who sells mangoes, the book that Ram bought."""
    relative = None
    if phrase.relative is not None:
        relative = clause_node(phrase.relative, gap=phrase.gap)
        relative.deprel = "acl:relcl"
        if phrase.gap == "object":
            relative.left.insert(0, word("that", "that", "PRON", "obj", "PronType=Rel"))
    return phrase_node(phrase, deprel, subject, relative)


def _frequency(clause: Clause) -> list[Node]:
    """Adverbs such as always stand before the main verb."""
    return [] if clause.fronted else [adverb_node(a.value) for a in clause.adjuncts if _is_frequency(a)]  # type: ignore[arg-type]


def _is_frequency(adjunct: Adjunct) -> bool:
    value = adjunct.value
    return isinstance(value, Adverb) and value.english in ("always", "often", "sometimes")


def _after(clause: Clause, gap: str, verb: Node) -> list[Node]:
    """Particle, recipient, object and adjuncts, in this order."""
    nodes: list[Node] = []
    particle = clause.verb.particle if clause.verb is not None else ""
    preposition = particle in _PREPOSITIONS
    if clause.asked == "object" and preposition:
        nodes.append(word(particle, particle, "ADP", "case"))
    elif particle and not preposition:
        nodes.append(word(particle, particle, "ADP", "compound:prt"))
    if clause.recipient is not None:
        nodes.append(phrase_with_relative(clause.recipient, "iobj", clause.subject))
    if (
        clause.object is not None
        and gap != "object"
        and clause.asked not in ("object", "count")
        and clause.kind != "ambient"
    ):
        thing = phrase_with_relative(clause.object, "obl" if preposition else "obj", clause.subject)
        if preposition:
            thing.left.insert(0, word(particle, particle, "ADP", "case"))
        nodes.append(thing)
    kept = [a for a in clause.adjuncts if not (a.role == "time" and clause.fronted) and not _is_frequency(a)]
    nodes += [adjunct_node(a, clause.subject) for a in sorted(kept, key=lambda a: _ORDER[a.role])]
    return nodes


def _link_before(clause: Clause, left: list[Node]) -> None:
    linked = clause.linked
    if linked is None:
        return
    if clause.link in ("if", "when", "while"):
        # A condition is past in Nepali (पानी पर्‍यो भने) and present in English (if it rains).
        node = clause_node(replace(linked, tense="present") if clause.link == "if" else linked)
        node.deprel = "advcl"
        node.left.insert(0, word(_MARKS[clause.link], _MARKS[clause.link], "SCONJ", "mark"))
    elif clause.link == "after":
        node = clause_node(linked, "ing")
        node.deprel = "advcl"
    elif clause.link == "whoever":
        node = clause_node(linked)
        node.deprel = "csubj"
        left.append(node)
        return
    else:
        return
    comma = word(",", ",", "PUNCT", "punct")
    comma.glued = True
    node.right.append(comma)
    left.append(node)


def _link_after(clause: Clause, node: Node) -> None:
    linked = clause.linked
    if linked is None:
        return
    if clause.link == "purpose":
        second = clause_node(linked, "to")
        second.deprel = "advcl"
    elif clause.link in ("and", "but", "or"):
        second = clause_node(linked, shared=linked.subject == clause.subject)
        second.deprel = "conj"
        second.left.insert(0, word(clause.link, clause.link, "CCONJ", "cc"))
    elif clause.link in ("because", "that", "quote"):
        second = clause_node(linked)
        second.deprel = "advcl" if clause.link == "because" else "ccomp"
        mark = _MARKS[clause.link]
        second.left.insert(0, word(mark, mark, "SCONJ", "mark"))
    else:
        return
    node.right.append(second)
