"""What a worker does with a shard of rows: normalise, mask, judge; sketch what is kept, and look for tests in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import regex
import xxhash
from numpy.typing import NDArray

from anukul.config import CorpusSettings
from anukul.contamination import indexed
from anukul.corpus.dedup import Duplicates
from anukul.corpus.readers import RawDocument
from anukul.corpus.rules import Assessment, Drop, assess
from anukul.languages import Language, load
from anukul.records import write_rows
from anukul.rundir import write_json
from anukul.tables import counts
from anukul.text.normalize import normalize
from anukul.text.pii import mask
from anukul.text.words import words

PLACE = regex.compile(r"(?:replay:)?\d+:\d+")  # the ids given here, which no row may bring along
SHOWN = 500  # characters of a dropped text that are kept
SKETCH, PARAGRAPHS = "sketch", "paragraphs"  # folders in a shard
CONTAMINATED = "contaminated.npy"  # which of the documents that the rules keep hold what the run evaluates on


@dataclass(slots=True)
class Judged:
    """A document that the rules keep."""

    number: int  # the row of its input, from 0
    file: int  # of its input
    id: str  # its own, "" where it has none that may be used
    text: str
    source: str
    license: str
    rules: list[str]
    place: str  # "file:row"


@dataclass(slots=True)
class Refused:
    """A document that a rule drops."""

    number: int
    file: int
    id: str
    source: str
    rule: str
    detail: str
    text: str  # its beginning
    looks_like: str


@dataclass(slots=True)
class CutPart:
    """A paragraph that a rule cut out of a document that stays."""

    number: int
    rule: str
    detail: str
    text: str  # its beginning


@dataclass(frozen=True, slots=True)
class JudgeJob:
    """Rows of one input that become a shard."""

    target: Path
    name: str
    language: str
    settings: CorpusSettings
    evaluated: Path | None  # the texts that are evaluated on
    rows: list[RawDocument]


def judge_shard(job: JudgeJob, folder: Path) -> None:
    """Write the shard of a job into `folder`: both tables, sketches, keys of the ids, counts."""
    language = load(job.language)
    kept: list[Judged] = []
    refused: list[Refused] = []
    cuts: list[CutPart] = []
    masked: list[str] = []
    looked: list[str] = []
    for raw in job.rows:
        result, rules, found = _judge(raw, language, job.settings)
        masked += [name for name, count in found.items() for _ in range(count)]
        looked += [name for name, count in result.languages.items() for _ in range(count)]
        text, drop, own = result.text, result.drop, _own_id(raw)
        if drop is None:
            kept.append(Judged(raw.number, raw.file, own, text, raw.source, raw.license, rules, raw.place))
            cuts += [
                CutPart(raw.number, cut.drop.rule, cut.drop.detail, cut.text[:SHOWN]) for cut in result.cuts
            ]
        else:
            shown = (text or raw.text)[:SHOWN]
            refused.append(
                Refused(raw.number, raw.file, own, raw.source, drop.rule, drop.detail, shown, drop.looks_like)
            )
    folder.mkdir(parents=True)
    write_rows(folder / "kept.parquet", kept, Judged)
    write_rows(folder / "refused.parquet", refused, Refused)
    write_rows(folder / "cuts.parquet", cuts, CutPart)
    _sketch(job.settings, kept, folder)
    _save_keys(kept, refused, folder)
    _save_contaminated(job, kept, folder)
    stats = {
        "rows": len(job.rows),
        "bytes": sum(len(raw.text.encode("utf-8", "replace")) for raw in job.rows),
        "masked": counts(masked),
        "languages": counts(looked),
    }
    write_json(folder / "stats.json", stats)


def _judge(
    raw: RawDocument, language: Language, settings: CorpusSettings
) -> tuple[Assessment, list[str], dict[str, int]]:
    """Return what becomes of a row, the rules that touched it, and how often each kind of thing was masked."""
    if raw.rule:
        return Assessment("", Drop(raw.rule, raw.detail)), [], {}
    text, rules = normalize(raw.text, language)
    found: dict[str, int] = {}
    if settings.mask_pii:
        text, found = mask(text, language)
        rules = [*rules, *(f"mask_{name}" for name, count in found.items() if count)]
    result = assess(text, language, settings)
    return result, [*rules, *result.rules], found


def _own_id(raw: RawDocument) -> str:
    own = raw.given_id.strip()
    return "" if PLACE.fullmatch(own) else own


def _sketch(settings: CorpusSettings, kept: list[Judged], folder: Path) -> None:
    found = Duplicates(folder, settings.dedup)
    found.add(SKETCH, [row.text for row in kept])
    if settings.dedup.level == "paragraph":
        parts = [paragraphs(row.text) for row in kept]
        found.add(PARAGRAPHS, [part for each in parts for part in each])
        save(folder / "parts.npy", np.array([len(each) for each in parts], dtype=np.int64))
        # of a heading or a date nobody can say that it is a copy
        long = [len(words(part)) >= settings.dedup.ngram for each in parts for part in each]
        save(folder / "long.npy", np.array(long, dtype=np.bool_))


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a normalised text, which are its lines."""
    return text.split("\n")


def _save_keys(kept: list[Judged], refused: list[Refused], folder: Path) -> None:
    """Write which rows there are, of which file, and a key of each one's own id; 0 where it has none."""
    rows: list[Judged | Refused] = sorted([*kept, *refused], key=lambda row: row.number)
    keys = [xxhash.xxh3_64_intdigest(row.id.encode("utf-8", "replace")) | 1 if row.id else 0 for row in rows]
    save(folder / "ids.npy", np.array(keys, dtype=np.uint64))
    save(folder / "numbers.npy", np.array([row.number for row in kept], dtype=np.int64))
    save(folder / "files.npy", np.array([row.file for row in rows], dtype=np.int32))
    save(folder / "kept_files.npy", np.array([row.file for row in kept], dtype=np.int32))


def _save_contaminated(job: JudgeJob, kept: list[Judged], folder: Path) -> None:
    """Write which documents hold what the run evaluates on, before anybody asks which are copies."""
    settings = job.settings.decontaminate
    found = np.zeros(len(kept), dtype=np.bool_)
    if settings is not None and job.evaluated is not None:
        hits = indexed(job.evaluated, settings).check_all([row.text for row in kept])
        found[:] = [bool(held) for held in hits]
    save(folder / CONTAMINATED, found)


def save(path: Path, array: NDArray[Any]) -> None:
    """Write an array so that a full disk is noticed."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.tobytes())
        file.flush()
