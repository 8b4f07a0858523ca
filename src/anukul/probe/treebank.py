"""Dependency trees from CoNLL-U: words with character spans, and the arcs a decoder can be asked about."""

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anukul.errors import UserError

Direction = Literal["dependent", "head"]
# Neither names a relation between two words of grammar: punctuation hangs where convention puts it.
LEFT_OUT = ("punct", "root")
_SENT_ID = re.compile(r"#\s*sent_id\s*=\s*(.*\S)")


@dataclass(frozen=True, slots=True)
class Word:
    """A syntactic word: characters `start` to `end` of the text; `head` is a word's index, -1 for none."""

    form: str
    start: int
    end: int
    head: int
    relation: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One tree; `index` is its place in the file."""

    index: int
    id: str
    text: str
    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Arc:
    """A dependency seen backwards: the later word `query` attends to the earlier word `key` (word indices).

    `direction` says which end of the arc is the later one.
    """

    query: int
    key: int
    relation: str
    direction: Direction


def arcs_of(sentence: Sentence) -> list[Arc]:
    """Return the arcs of a sentence in the order of their dependents, punctuation and root left out."""
    arcs = []
    for index, word in enumerate(sentence.words):
        if word.relation.partition(":")[0] in LEFT_OUT:
            continue
        later: Direction = "dependent" if index > word.head else "head"
        arcs.append(Arc(max(index, word.head), min(index, word.head), word.relation, later))
    return arcs


def read_treebank(path: Path, limit: int | None = None) -> list[Sentence]:
    """Return the first `limit` sentences of a CoNLL-U file.

    Raises UserError with file, sentence and fault: not UTF-8 (with the byte), empty, a line that does not
    parse, no root or several, a head out of range, a cycle, or forms that do not add up to `# text`.
    """
    sentences: list[Sentence] = []
    for line, block in _blocks(path, _read(path)):
        if limit is not None and len(sentences) >= limit:
            break
        sentences.append(_sentence(path, line, len(sentences), block))
    if not sentences:
        raise UserError(f"{path}: no sentences in this file; give a CoNLL-U treebank")
    return sentences


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give a CoNLL-U treebank") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}: not UTF-8 at byte {error.start} (line {line}): save the treebank as UTF-8"
        ) from None


def _blocks(path: Path, text: str) -> list[tuple[int, str]]:
    """Return (first line number, lines) of each sentence that has word lines; only \\n ends a line."""
    blocks: list[tuple[int, str]] = []
    held: list[str] = []
    for number, raw in enumerate([*text.split("\n"), ""], start=1):
        line = raw.rstrip("\r")
        if line.strip():
            held.append(line)
        elif held:
            if any(not item.startswith("#") for item in held):
                blocks.append((number - len(held), "\n".join(held)))
            held = []
    return blocks


def _sentence(path: Path, line: int, index: int, block: str) -> Sentence:
    import conllu
    from conllu.exceptions import ParseException

    # The library's logger is told nothing: faults are raised here, once, with file and sentence.
    logging.getLogger("conllu").setLevel(logging.ERROR)
    named = [found.group(1) for found in map(_SENT_ID.match, block.split("\n")) if found]
    name = named[0] if named else f"number {index + 1}"
    where = f"{path}: sentence {name} (line {line})"
    try:
        (tokens,) = conllu.parse(block)
    except (ParseException, ValueError) as error:
        raise UserError(f"{where}: not CoNLL-U: {' '.join(str(error).split())}") from None
    heads, relations, forms = _tree(where, tokens)
    spans, text = _spans(where, tokens)
    words = tuple(
        Word(form, *span, head, relation)
        for form, span, head, relation in zip(forms, spans, heads, relations, strict=True)
    )
    return Sentence(index, name, text, words)


def _tree(where: str, tokens: Any) -> tuple[list[int], list[str], list[str]]:
    """Return heads (0-based, root -1), relations and forms of the syntactic words, checked to be one tree."""
    words = [token for token in tokens if isinstance(token["id"], int)]
    numbers = [token["id"] for token in words]
    if numbers != list(range(1, len(words) + 1)):
        raise UserError(f"{where}: word numbers must run 1, 2, 3, … without gaps, got {numbers[:12]}")
    heads = []
    for token in words:
        head = token.get("head")
        if not isinstance(head, int) or not 0 <= head <= len(words):
            raise UserError(
                f"{where}: word {token['id']} '{token['form']}' has head {head}, "
                f"out of range 0 to {len(words)}"
            )
        if token.get("deprel") in (None, "", "_"):
            raise UserError(f"{where}: word {token['id']} '{token['form']}' has no relation (column 8)")
        heads.append(head - 1)
    roots = heads.count(-1)
    if roots != 1:
        found = "no root" if roots == 0 else f"{roots} roots"
        raise UserError(f"{where}: {found}; a tree has exactly one word with head 0")
    cycle = _cycle(heads)
    if cycle:
        shown = " -> ".join(f"{i + 1} '{words[i]['form']}'" for i in cycle)
        raise UserError(f"{where}: a cycle: {shown}; every word must reach the root")
    return heads, [token["deprel"] for token in words], [token["form"] for token in words]


def _cycle(heads: list[int]) -> list[int]:
    """Return the words of a cycle, the first repeated at the end; empty when every word reaches the root."""
    cleared: set[int] = set()
    for start in range(len(heads)):
        path: list[int] = []
        here = start
        while here != -1 and here not in cleared:
            if here in path:
                return [*path[path.index(here) :], here]
            path.append(here)
            here = heads[here]
        cleared.update(path)
    return []


def _spans(where: str, tokens: Any) -> tuple[list[tuple[int, int]], str]:
    """Return the character span of each syntactic word, and the text: `# text`, or the forms put together."""
    units = _surface(tokens)
    given = tokens.metadata.get("text")
    text = given if given else "".join(form + after for form, after, _ in units).strip()
    spans: list[tuple[int, int]] = []
    position = 0
    for form, _, parts in units:
        while position < len(text) and text[position].isspace():
            position += 1
        if not text.startswith(form, position):
            raise UserError(
                f"{where}: text and forms disagree: after character {position} the text reads "
                f"'{text[position : position + len(form) + 5]}' where the word is '{form}'"
            )
        spans += _inside(form, parts, position)
        position += len(form)
    if text[position:].strip():
        raise UserError(
            f"{where}: text and forms disagree: the text goes on with '{text[position:].strip()[:40]}'"
        )
    return spans, text


def _surface(tokens: Any) -> list[tuple[str, str, list[str]]]:
    """Return (form, space after, forms of its words) for each surface token, empty nodes left out."""
    units: list[tuple[str, str, list[str]]] = []
    covered = 0
    for token in tokens:
        number = token["id"]
        after = "" if (token.get("misc") or {}).get("SpaceAfter") == "No" else " "
        if isinstance(number, tuple):
            if number[1] == "-":
                units.append((token["form"], after, []))
                covered = number[2]
        elif number <= covered:
            units[-1][2].append(token["form"])
        else:
            units.append((token["form"], after, [token["form"]]))
    return units


def _inside(form: str, parts: list[str], start: int) -> list[tuple[int, int]]:
    """Return the spans of the words in one surface token.

    Where a contraction is not its parts put together (French `du` = de + le), the first word holds the whole
    of it and the others hold nothing: an arc that needs them cannot be seen in the text.
    """
    end = start + len(form)
    if "".join(parts) == form:
        spans = []
        for part in parts:
            spans.append((start, start + len(part)))
            start += len(part)
        return spans
    return [(start, end)] + [(end, end)] * (len(parts) - 1)
