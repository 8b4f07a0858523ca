"""Dependency trees: built as nodes, read out as tokens, text and CoNLL-U (Universal Dependencies version 2)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """A word with its dependents, which stand to its left and right in the order listed.

    A tree of nodes is projective and has one root by construction. `feats` is the CoNLL-U string, `glued` says that no
    space stands before the word, `gloss` is the English of its lemma and grammar.
    """

    form: str
    lemma: str
    upos: str
    deprel: str = "root"
    feats: str = "_"
    gloss: str = ""
    left: list[Node] = field(default_factory=list)
    right: list[Node] = field(default_factory=list)
    glued: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """One line of CoNLL-U: `id` counts from 1, `head` is 0 for the root."""

    id: int
    form: str
    lemma: str
    upos: str
    feats: str
    head: int
    deprel: str
    space_after: bool
    gloss: str


def walk(node: Node) -> list[Node]:
    """The words of the tree in the order they are written."""
    words: list[Node] = []
    _collect(node, words)
    return words


def _collect(node: Node, words: list[Node]) -> None:
    for child in node.left:
        _collect(child, words)
    words.append(node)
    for child in node.right:
        _collect(child, words)


def text(node: Node) -> str:
    """The written sentence: words joined by spaces, punctuation attached."""
    parts: list[str] = []
    for word in walk(node):
        if parts and not word.glued:
            parts.append(" ")
        parts.append(word.form)
    return "".join(parts)


def tokens(root: Node) -> list[Token]:
    """The tree as tokens with head numbers."""
    words = walk(root)
    place = {id(word): index for index, word in enumerate(words, start=1)}
    heads = {id(root): 0}
    for word in words:
        for child in (*word.left, *word.right):
            heads[id(child)] = place[id(word)]
    result = []
    for index, word in enumerate(words, start=1):
        space_after = index == len(words) or not words[index].glued
        result.append(
            Token(
                index, word.form, word.lemma, word.upos, word.feats,
                heads[id(word)], word.deprel, space_after, word.gloss,
            )
        )  # fmt: skip
    return result


def conllu(root: Node, sent_id: str, comments: dict[str, str]) -> str:
    """One CoNLL-U block, blank line included: `# sent_id`, `# text`, further comments, ten columns per word."""
    lines = [f"# sent_id = {sent_id}", f"# text = {text(root)}"]
    lines += [f"# {key} = {value}" for key, value in comments.items()]
    for token in tokens(root):
        misc = [] if token.space_after else ["SpaceAfter=No"]
        if token.gloss:
            misc.insert(0, f"Gloss={token.gloss.replace(' ', '_')}")
        columns = (
            str(token.id), token.form, token.lemma, token.upos, "_", token.feats,
            str(token.head), token.deprel, "_", "|".join(misc) or "_",
        )  # fmt: skip
        lines.append("\t".join(columns))
    return "\n".join(lines) + "\n\n"


def faults(words: list[Token]) -> list[str]:
    """What makes a tree invalid: not exactly one root, a head outside the sentence, a cycle, a wrong root relation."""
    found = []
    roots = [word for word in words if word.head == 0]
    if len(roots) != 1:
        found.append(f"{len(roots)} roots")
    for word in words:
        if (word.head == 0) != (word.deprel == "root"):
            found.append(f"word {word.id}: relation {word.deprel} with head {word.head}")
        if not 0 <= word.head <= len(words) or word.head == word.id:
            found.append(f"word {word.id}: head {word.head}")
            continue
        seen, at = set(), word.id
        while at and at not in seen:
            seen.add(at)
            at = words[at - 1].head
        if at:
            found.append(f"word {word.id}: in a cycle")
    return found
