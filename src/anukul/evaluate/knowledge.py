"""Facts: is the full statement with the true object likelier than with each distractor?"""

from typing import Any

import regex

from anukul.errors import UserError
from anukul.evaluate.rows import BadRowError, check_unique, label_of, not_empty, read_jsonl, short, text_of
from anukul.evaluate.whole_texts import Ranking

TASK = "knowledge"


def load_facts(path: str) -> list[Ranking]:
    """Read facts.jsonl into one ranking per fact and language; raise UserError naming file and line."""
    rankings = []
    for number, row in read_jsonl(path):
        try:
            rankings += _rankings(row, number)
        except BadRowError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
    not_empty(path, rankings, "facts")
    check_unique(path, [ranking.id for ranking in rankings])
    return rankings


def _rankings(row: dict[str, Any], number: int) -> list[Ranking]:
    statements = row.get("statement")
    if not isinstance(statements, dict) or not statements:
        raise BadRowError("'statement' must be an object {language: sentence}")
    distractors = row.get("distractors")
    if not isinstance(distractors, list) or not distractors:
        raise BadRowError("'distractors' must be a list of objects {language: text}")
    fact = label_of(row, "id", str(number))
    rankings = []
    for language in statements:
        statement = text_of(statements, language)
        right = _by_language(row, "object", language)
        subject = _by_language(row, "subject", language)
        wrong = [_by_language({"distractors": other}, "distractors", language) for other in distractors]
        if right in wrong:
            raise BadRowError(f"a distractor equals the object {short(right)} in {language}")
        identifier = f"{fact}:{language}"
        texts = (statement, *(_replace_object(statement, subject, right, other) for other in wrong))
        rankings.append(
            Ranking(
                TASK, TASK, language, "target", identifier, fact, label_of(row, "split", ""), "", texts, 0
            )
        )
    return rankings


def _by_language(row: dict[str, Any], key: str, language: str) -> str:
    values = row.get(key)
    if not isinstance(values, dict):
        raise BadRowError(f"'{key}' must be an object {{language: text}}, got {short(values)}")
    try:
        return text_of(values, language)
    except BadRowError as error:
        raise BadRowError(f"'{key}': {error}") from None


def _replace_object(statement: str, subject: str, right: str, wrong: str) -> str:
    """Replace the object in a statement: its last occurrence that starts a word and lies outside the subject.

    Only the start of the word counts: Nepali postpositions are written onto the object.
    """
    pattern = rf"(?<![\p{{L}}\p{{M}}\p{{N}}]){regex.escape(right)}"
    taken = [match.span() for match in regex.finditer(regex.escape(subject), statement)]
    found = [
        match.span()
        for match in regex.finditer(pattern, statement)
        if not any(first < match.end() and match.start() < last for first, last in taken)
    ]
    if not found:
        raise BadRowError(f"the statement does not name the object {short(right)}: {short(statement)}")
    first, last = found[-1]
    return statement[:first] + wrong + statement[last:]
