"""What a worker does with a judged shard: ids, copies, what is evaluated on; then its rows are final."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anukul.config import CorpusSettings
from anukul.contamination import Tally, indexed
from anukul.corpus.judged import SHOWN, CutPart, Judged, Refused, paragraphs
from anukul.records import Document, Dropped, Duplicate, read_rows, write_rows
from anukul.rundir import write_json
from anukul.tables import counts
from anukul.text.words import words

TABLES: dict[str, type[Any]] = {"documents": Document, "dropped": Dropped, "clusters": Duplicate}


@dataclass(frozen=True, slots=True)
class Copies:
    """Which documents of a shard are copies, `[documents]`."""

    head: list[str]  # `row_id` of the document that is kept of each one's cluster
    kept: NDArray[np.bool_]
    exact: NDArray[np.bool_]
    similarity: NDArray[np.float32]
    size: NDArray[np.int64]  # of its cluster
    keep_part: NDArray[np.bool_] | None  # `[paragraphs]`: false for a copy of an earlier one; None: not asked


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


class _Final:
    """The final rows of one shard, as they come together."""

    def __init__(self, job: SortJob) -> None:
        self.job = job
        self.documents: list[tuple[int, Document]] = []  # with the rows' numbers
        self.dropped: list[tuple[int, Dropped]] = []
        self.clusters: list[Duplicate] = []
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

    def keep(self, place: int, row: Judged, identity: str) -> None:
        """Take in a row that the rules keep, the `place`-th of them, unless it is a copy."""
        copies, job = self.job.copies, self.job
        text, cut = self._text(row)
        kept, weight = bool(copies.kept[place]), int(copies.size[place])
        if weight > 1 and row.file not in job.bad_files:
            exact = kept or bool(copies.exact[place])
            self.clusters.append(Duplicate(copies.head[place], identity, job.kind, kept, exact, row.place))
        why = self._why(place, row, text, cut)
        if why is not None:
            self.drop(row.number, identity, row.source, why, row.text)
            return
        rules = [*row.rules, "repeated_paragraphs"] if cut else row.rules
        document = Document(identity, text, job.language, row.source, row.license, rules, row.place, weight)
        self.documents.append((row.number, document))

    def _text(self, row: Judged) -> tuple[str, bool]:
        """Return a text without the paragraphs that stand in earlier ones, and whether there were any."""
        keep = self.job.copies.keep_part
        if keep is None:
            return row.text, False
        parts = paragraphs(row.text)
        wanted = keep[self.part : self.part + len(parts)]
        self.part += len(parts)
        if wanted.all():
            return row.text, False
        return "\n".join(part for part, stays in zip(parts, wanted, strict=True) if stays), True

    def _corrupt(self, file: int) -> tuple[str, str]:
        return "corrupt_file", f"what was read before the file broke off: {self.job.bad_files[file]}"

    def _why(self, place: int, row: Judged, text: str, cut: bool) -> tuple[str, str] | None:
        """Return the rule that drops a row, and the reason; None to keep it."""
        copies = self.job.copies
        if row.file in self.job.bad_files:
            return self._corrupt(row.file)
        if not copies.kept[place]:
            head = copies.head[place]
            if copies.exact[place]:
                return "exact_duplicate", f"the same words stand in an earlier document, {head}"
            return "near_duplicate", f"{copies.similarity[place]:.2f} like an earlier document, {head}"
        if cut and len(text) < max(1, self.job.settings.min_characters):
            return "repeated_paragraphs", f"{len(text)} characters are left without what earlier ones say"
        return None

    def decontaminate(self) -> None:
        """Drop the documents that hold what the run evaluates on."""
        settings = self.job.settings.decontaminate
        if settings is None or self.job.evaluated is None:
            return
        found = indexed(self.job.evaluated, settings).check_all([row.text for _, row in self.documents])
        clean = []
        for (number, row), hits in zip(self.documents, found, strict=True):
            if not hits:
                clean.append((number, row))
                continue
            best = max(hits, key=lambda hit: hit.share)
            self.drop(number, row.id, row.source, ("contaminated", best.detail), row.text)
            self.tally.add(row.id, row.source, row.text, hits)
        self.documents = clean

    def cut_out(self, cuts: list[CutPart]) -> None:
        """Take in the paragraphs that were cut out of the documents that stay."""
        staying = dict(self.documents)
        numbers: Counter[int] = Counter()
        for part in cuts:
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
    places = {row.number: place for place, row in enumerate(kept)}
    rows: list[Judged | Refused] = sorted([*kept, *refused], key=lambda row: row.number)
    for row, repeated in zip(rows, job.repeated, strict=True):
        usable = row.id and not repeated and row.file not in job.bad_files
        identity = row.id if usable else row_id(job.kind, job.index, row.number)
        if isinstance(row, Refused):
            final.refuse(row, identity)
        else:
            final.keep(places[row.number], row, identity)
    final.decontaminate()
    final.cut_out(read_rows(job.judged / "cuts.parquet", CutPart))
    final.write(folder)
