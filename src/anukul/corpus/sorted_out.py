"""What a worker does with a judged shard: ids, copies, what is evaluated on; then its rows are final.

A text that holds a test is no copy of another, and no other is a copy of it: where it goes, the other must stay.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.config import CorpusSettings
from anukul.contamination import Hit, Tally, indexed
from anukul.corpus.judged import CONTAMINATED, SHOWN, CutPart, Judged, Refused, paragraphs
from anukul.records import Document, Dropped, Duplicate, read_rows, write_rows
from anukul.rundir import write_json
from anukul.tables import counts
from anukul.text.files import broke_off
from anukul.text.words import words

TABLES: dict[str, type[Any]] = {
    "documents": Document,
    "dropped": Dropped,
    "clusters": Duplicate,
    "paragraphs": Duplicate,
}


@dataclass(frozen=True, slots=True)
class Parts:
    """Which paragraphs of a shard are copies, `[paragraphs]`."""

    head: list[str]  # `part_id` of the first of each one's cluster; "" where it is alone
    kept: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    similarity: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Copies:
    """Which documents of a shard are copies, `[documents]`."""

    head: list[str]  # `row_id` of the document that is kept of each one's cluster
    kept: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    similarity: NDArray[np.float32]
    size: NDArray[np.int64]  # of its cluster
    parts: Parts | None  # None: not asked


@dataclass(frozen=True, slots=True)
class SortJob:
    """A judged shard that becomes final."""

    target: Path
    name: str
    judged: Path  # its folder
    kind: str  # corpus | replay
    index: int  # of its input
    bad_files: dict[int, str]  # of its input, with the reason
    repeated: NDArray[np.bool_]  # `[rows]`: an earlier row has the same id
    copies: Copies
    language: str
    settings: CorpusSettings
    evaluated: Path | None  # the texts that are evaluated on


def row_id(kind: str, index: int, number: int) -> str:
    """Return the id of a row without one of its own: "<input>:<row>", with the kind's name for replay."""
    return f"{index}:{number}" if kind == "corpus" else f"{kind}:{index}:{number}"


def part_id(document: str, place: int) -> str:
    """Return what a paragraph is known by: its document, and its place in it from 0."""
    return f"{document}, paragraph {place + 1}"


def _like(exact: bool, similarity: float, head: str) -> str:
    """Put into words what a text is a copy of."""
    if exact:
        return f"the same words stand in an earlier document, {head}"
    return f"{similarity:.2f} like an earlier document, {head}"


class _Final:
    """The final rows of one shard, as they come together."""

    def __init__(self, job: SortJob) -> None:
        self.job = job
        self.documents: list[tuple[int, Document]] = []  # with the rows' numbers
        self.dropped: list[tuple[int, Dropped]] = []
        self.clusters: list[Duplicate] = []
        self.paragraphs: list[Duplicate] = []
        self.repeated: list[CutPart] = []  # paragraphs that stand in earlier documents
        self.cut: list[str] = []  # the rules that cut a paragraph
        self.looks_like: list[str] = []
        self.tally = Tally()
        self.part = 0  # the number of the next paragraph

    def refuse(self, row: Refused, identity: str) -> None:
        """Take in a row that a rule dropped."""
        bad = row.file in self.job.bad_files
        why = self._corrupt(row.file) if bad else (row.rule, row.detail)
        self.drop(row.number, identity, row.source, why, row.text)
        if row.looks_like and not bad:
            self.looks_like.append(row.looks_like)

    def drop(self, number: int, identity: str, source: str, why: tuple[str, str], text: str) -> None:
        """Take in a dropped row, with the rule and the reason."""
        self.dropped.append((number, Dropped(identity, source, *why, text[:SHOWN])))

    def keep(self, place: int, row: Judged, identity: str, hits: Sequence[Hit]) -> None:
        """Take in a row that the rules keep, the `place`-th of them, unless it is a copy or holds a test (`hits`)."""
        copies, job = self.job.copies, self.job
        text, fallen = self._text(row)
        why = self._why(place, row, hits) or fallen
        weight = int(copies.size[place])
        if weight > 1:
            exact = bool(copies.kept[place] or copies.exact[place])
            held = Duplicate(copies.head[place], identity, job.kind, why is None, exact, row.place)
            self.clusters.append(held)
        if why is not None:
            self.drop(row.number, identity, row.source, why, row.text)
            return
        rules = row.rules if text == row.text else [*row.rules, "repeated_paragraphs"]
        document = Document(identity, text, job.language, row.source, row.license, rules, row.place, weight)
        self.documents.append((row.number, document))

    def _text(self, row: Judged) -> tuple[str, tuple[str, str] | None]:
        """Return a text without the paragraphs that stand in earlier ones, and why it falls for that, if it does."""
        found = self.job.copies.parts
        if found is None:
            return row.text, None
        texts = paragraphs(row.text)
        here = slice(self.part, self.part + len(texts))
        self.part += len(texts)
        wanted, heads = found.kept[here], found.head[here]
        own = row_id(self.job.kind, self.job.index, row.number)
        for place, (text, head, kept) in enumerate(zip(texts, heads, wanted.tolist(), strict=True)):
            if head:
                number = here.start + place
                exact = kept or bool(found.exact[number])
                held = Duplicate(head, part_id(own, place), self.job.kind, kept, exact, row.place)
                self.paragraphs.append(held)
                if not kept:
                    why = _like(exact, found.similarity[number], head)
                    self.repeated.append(CutPart(row.number, "repeated_paragraphs", why, text[:SHOWN]))
        if wanted.all():
            return row.text, None
        left = "\n".join(text for text, stays in zip(texts, wanted, strict=True) if stays)
        # a text is not too short where its copies elsewhere are cut because it stands here
        first = any(head and kept for head, kept in zip(heads, wanted, strict=True))
        if first or len(left) >= max(1, self.job.settings.min_characters):
            return left, None
        return left, ("repeated_paragraphs", f"{len(left)} characters are left without what earlier ones say")

    def _corrupt(self, file: int) -> tuple[str, str]:
        return broke_off(self.job.bad_files[file])

    def _why(self, place: int, row: Judged, hits: Sequence[Hit]) -> tuple[str, str] | None:
        """Return the rule that drops a row, and the reason; None to keep it."""
        copies = self.job.copies
        if row.file in self.job.bad_files:
            return self._corrupt(row.file)
        if hits:
            return "contaminated", max(hits, key=lambda hit: hit.share).detail
        if not copies.kept[place]:
            exact = bool(copies.exact[place])
            rule = "exact_duplicate" if exact else "near_duplicate"
            return rule, _like(exact, copies.similarity[place], copies.head[place])
        return None

    def cut_out(self, cuts: list[CutPart]) -> None:
        """Take in the paragraphs that were cut out of the documents that stay."""
        staying = dict(self.documents)
        numbers: Counter[int] = Counter()
        for part in (*cuts, *self.repeated):
            row = staying.get(part.number)
            if row is not None:
                numbers[part.number] += 1
                name = f"{row.id}#{numbers[part.number]}"
                self.cut.append(part.rule)
                self.drop(part.number, name, row.source, (part.rule, part.detail), part.text)

    def write(self, folder: Path) -> None:
        """Write the shard."""
        folder.mkdir(parents=True)
        documents = [row for _, row in self.documents]
        dropped = [row for _, row in sorted(self.dropped, key=lambda item: item[0])]
        write_rows(folder / "documents.parquet", documents, Document)
        write_rows(folder / "dropped.parquet", dropped, Dropped)
        write_rows(folder / "clusters.parquet", self.clusters, Duplicate)
        write_rows(folder / "paragraphs.parquet", self.paragraphs, Duplicate)
        whole = Counter(row.rule for row in dropped) - Counter(self.cut)
        stats = {
            "read": len(documents) + whole.total(),
            "kept": len(documents),
            "characters": sum(len(row.text) for row in documents),
            "words": sum(len(words(row.text)) for row in documents),
            "dropped": dict(sorted(whole.items())),
            "cut": counts(self.cut),
            "normalized": counts(rule for row in documents for rule in row.rules),
            "looks_like": counts(self.looks_like),
            "contamination": self.tally.as_json(),
        }
        write_json(folder / "stats.json", stats)


def sort_shard(job: SortJob, folder: Path) -> None:
    """Write the final tables and counts of a shard into `folder`."""
    final = _Final(job)
    kept = read_rows(job.judged / "kept.parquet", Judged)
    refused = read_rows(job.judged / "refused.parquet", Refused)
    held = _held(job, kept)
    places = {row.number: place for place, row in enumerate(kept)}
    rows: list[Judged | Refused] = sorted([*kept, *refused], key=lambda row: row.number)
    for row, repeated in zip(rows, job.repeated, strict=True):
        usable = row.id and not repeated and row.file not in job.bad_files
        identity = row.id if usable else row_id(job.kind, job.index, row.number)
        if isinstance(row, Refused):
            final.refuse(row, identity)
            continue
        place = places[row.number]
        hits = held.get(place, [])
        final.keep(place, row, identity, hits)
        if hits and row.file not in job.bad_files:
            final.tally.add(identity, row.source, row.text, hits, job.kind)
    final.cut_out(read_rows(job.judged / "cuts.parquet", CutPart))
    final.write(folder)


def _held(job: SortJob, kept: Sequence[Judged]) -> dict[int, list[Hit]]:
    """Return what the documents hold that are known to hold something, by their place."""
    settings = job.settings.decontaminate
    places = np.flatnonzero(np.load(job.judged / CONTAMINATED)).tolist()
    if not places or settings is None or job.evaluated is None:
        return {}
    found = indexed(job.evaluated, settings).check_all([kept[place].text for place in places])
    return dict(zip(places, found, strict=True))
