"""What the paragraphs of each input look like: the corpus's confusion table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from anukul.languages import Language
from anukul.text.identify import identify
from anukul.text.normalize import normalize


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts [rows, columns]: a row is an input or a language, a column what its paragraphs look like."""

    rows: list[str]
    columns: list[str]
    counts: list[list[int]]

    def as_json(self) -> dict[str, object]:
        """Return it for corpus/confusion.json."""
        return {"rows": self.rows, "columns": self.columns, "counts": self.counts}


def confusion(rows: Iterable[tuple[str, Mapping[str, int]]], first: Iterable[str] = ()) -> Confusion:
    """Return the table of (a row's name, {what paragraphs look like: how many}).

    The languages in `first` stand first, seen or not; the others by how often they are seen.
    """
    given = list(rows)
    totals: dict[str, int] = {}
    for _, counts in given:
        for label, number in counts.items():
            totals[label] = totals.get(label, 0) + number
    columns = list(dict.fromkeys(first))
    columns += sorted(
        (label for label in totals if label not in columns), key=lambda label: (-totals[label], label)
    )
    table = [[counts.get(label, 0) for label in columns] for _, counts in given]
    return Confusion([name for name, _ in given], columns, table)


def confusion_of(
    labelled: Mapping[str, Iterable[str]], language: Language, model: str | None = None
) -> Confusion:
    """Return how texts of known languages are identified when `language` is expected."""
    rows: list[tuple[str, dict[str, int]]] = []
    for code, texts in labelled.items():
        counts: dict[str, int] = {}
        for text in texts:
            label = identify(normalize(text, language)[0], language, model).language
            counts[label] = counts.get(label, 0) + 1
        rows.append((code, counts))
    return confusion(rows, [language.code, *language.confusables])
