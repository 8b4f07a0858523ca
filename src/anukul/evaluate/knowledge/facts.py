"""Facts: is the true object likelier than each distractor, in the full statement and after its beginning?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import regex

from anukul.errors import UserError
from anukul.evaluate.knowledge.clozes import Cloze
from anukul.evaluate.knowledge.kept import kept_rows
from anukul.evaluate.scores import Method, add_q, make_scores
from anukul.evaluate.whole_texts import Ranking
from anukul.items.rows import BadRowError, check_unique, label_of, not_empty, read_jsonl, short, text_of
from anukul.records import Item

TASK = "knowledge"
CLOZE_TASK = "knowledge-cloze"
FORMS = {TASK: "ranking", CLOZE_TASK: "cloze"}
ASPECTS = {
    "acquisition": "stated only in the language to learn, asked in it",
    "retention": "stated only in the base language, asked in it: what the base could have learned",
    "transfer": "stated in one language, asked in the other",
    "both": "stated in both languages",
    "chance": "stated nowhere: what guessing looks like",
}


@dataclass(slots=True)
class Knowledge:
    """Facts in each language, as full statements and as clozes with the same ids."""

    rankings: list[Ranking] = field(default_factory=list)
    clozes: list[Cloze] = field(default_factory=list)
    stated_in: dict[str, tuple[str, ...]] = field(default_factory=dict)  # by item id, where the row says it
    object_first: int = 0  # clozes without a beginning, which are ranked as full statements

    def add(self, other: "Knowledge") -> None:
        """Take in what another holds."""
        self.rankings += other.rankings
        self.clozes += other.clozes
        self.stated_in |= other.stated_in
        self.object_first += other.object_first


def load_facts(path: str) -> Knowledge:
    """Read facts.jsonl, one item per fact and language; raise UserError naming file and line."""
    found = Knowledge()
    for number, row in read_jsonl(path):
        try:
            found.add(_fact(row, number))
        except BadRowError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
    not_empty(path, found.rankings, "facts")
    check_unique(path, [ranking.id for ranking in found.rankings])
    return found


def summarize(
    items: Sequence[Item],
    stated_in: Mapping[str, tuple[str, ...]],
    language: str,
    base_language: str,
    method: Method,
) -> dict[str, Any]:
    """Return the facts by what the texts state and by what the base knew, nothing where no fact was asked."""
    asked = [item for item in items if item.task in FORMS and item.kind in (TASK, "cloze")]
    if not asked:
        return {}
    return {
        "aspects": aspect_rows(asked, stated_in, language, base_language, method),
        "kept_facts": kept_rows(asked, FORMS, stated_in, language, method),
    }


def aspect_rows(
    items: Sequence[Item],
    stated_in: Mapping[str, tuple[str, ...]],
    language: str,
    base_language: str,
    method: Method,
) -> list[dict[str, Any]]:
    """Return one row for each aspect, form, and language stated and asked; `q` is over these rows.

    Facts whose row does not say where they are stated are left out.
    """
    labelled = []
    for item in items:
        if item.item in stated_in:
            stated = stated_in[item.item]
            aspect = aspect_of(stated, item.language, language, base_language)
            labelled.append(replace(item, split=f"{aspect} {'+'.join(stated)}".strip()))
    rows = []
    for score in make_scores(labelled, method).scores:
        if score["split"] == "all" or score["metric"] != "accuracy":
            continue
        aspect, _, stated_text = score["split"].partition(" ")
        kept = ("language", "n", "chance", "base", "adapted", "difference", "p", "q", "lost", "gained")
        rows.append(
            {
                "aspect": aspect,
                "form": FORMS[score["task"]],
                "stated_in": stated_text.split("+") if stated_text else [],
                **{key: score[key] for key in kept},
            }
        )
    order = list(ASPECTS)
    rows.sort(key=lambda row: (order.index(row["aspect"]), row["language"], row["form"]))
    add_q(rows)
    return rows


def aspect_of(stated: Sequence[str], asked: str, language: str, base_language: str) -> str:
    """Name what an answer shows, from the languages that state the fact and the one that asks."""
    if not stated:
        return "chance"
    if asked not in stated:
        return "transfer"
    if len(stated) > 1:
        return "both"
    return "retention" if asked == base_language and asked != language else "acquisition"


def _fact(row: dict[str, Any], number: int) -> Knowledge:
    statements = row.get("statement")
    if not isinstance(statements, dict) or not statements:
        raise BadRowError("'statement' must be an object {language: sentence}")
    distractors = row.get("distractors")
    if not isinstance(distractors, list) or not distractors:
        raise BadRowError("'distractors' must be a list of objects {language: text}")
    fact = label_of(row, "id", str(number))
    stated = _stated_in(row)
    split = label_of(row, "split", "")
    found = Knowledge()
    for language in statements:
        statement = text_of(statements, language)
        right = _by_language(row, "object", language)
        subject = _by_language(row, "subject", language)
        wrong = [_by_language({"distractors": other}, "distractors", language) for other in distractors]
        if right in wrong:
            raise BadRowError(f"a distractor equals the object {short(right)} in {language}")
        identifier = f"{fact}:{language}"
        first, last = _find_object(statement, subject, right)
        texts = tuple(statement[:first] + value + statement[last:] for value in (right, *wrong))
        found.rankings.append(Ranking(TASK, TASK, language, "target", identifier, fact, split, "", texts, 0))
        prefix = statement[:first] if statement[:first].strip() else ""
        found.object_first += not prefix
        choices = (right, *wrong) if prefix else texts
        found.clozes.append(
            Cloze(CLOZE_TASK, language, "target", identifier, fact, split, prefix, choices, 0)
        )
        if stated is not None:
            found.stated_in[identifier] = stated
    return found


def _stated_in(row: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the languages whose texts state the fact, None where the row does not say."""
    stated = row.get("stated_in")
    if stated is None:
        return None
    if not isinstance(stated, list) or not all(isinstance(code, str) and code for code in stated):
        raise BadRowError(f"'stated_in' must be a list of language codes, got {short(stated)}")
    return tuple(sorted(set(stated)))


def _by_language(row: dict[str, Any], key: str, language: str) -> str:
    values = row.get(key)
    if not isinstance(values, dict):
        raise BadRowError(f"'{key}' must be an object {{language: text}}, got {short(values)}")
    try:
        return text_of(values, language)
    except BadRowError as error:
        raise BadRowError(f"'{key}': {error}") from None


def _find_object(statement: str, subject: str, right: str) -> tuple[int, int]:
    """Return where the object stands: its last occurrence that starts a word and lies outside the subject.

    Only the start of the word counts: Nepali postpositions are written onto the object.
    """
    word_start = r"(?<![\p{L}\p{M}\p{N}])"
    pattern = word_start + regex.escape(right)
    taken = [match.span() for match in regex.finditer(word_start + regex.escape(subject), statement)]
    found = [
        match.span()
        for match in regex.finditer(pattern, statement)
        if not any(first < match.end() and match.start() < last for first, last in taken)
    ]
    if not found:
        raise BadRowError(f"the statement does not name the object {short(right)}: {short(statement)}")
    return found[-1]
