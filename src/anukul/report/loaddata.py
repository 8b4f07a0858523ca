"""Read what corpus and synth wrote about themselves beside their rows; what is not there is None: not measured."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.records import Duplicate, PairSample, read_rows
from anukul.report.loadleaks import Contamination, load_contamination
from anukul.report.reading import read_object
from anukul.tables import rules_of

LARGEST = 5  # clusters shown
SHOWN = 300  # characters of a text that is shown


@dataclass(frozen=True, slots=True)
class Looks:
    """What the paragraphs of one input were identified as: {language code or other name: paragraphs}."""

    where: str
    name: str
    expected: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Cluster:
    """Documents that are copies of each other."""

    id: str
    size: int
    exact: int
    text: str  # of the one that is kept, its beginning


@dataclass(frozen=True, slots=True)
class Clusters:
    """corpus/clusters.parquet as a whole; `documents` are members of a cluster, one of each is kept."""

    clusters: int
    documents: int
    dropped: int
    exact: int  # dropped ones that are the same words
    sizes: dict[str, int]  # clusters by size: 2, 3 to 5, …
    largest: tuple[Cluster, ...]


@dataclass(frozen=True, slots=True)
class DataPart:
    """What the data part of the report shows beside the steps' counts."""

    looks: tuple[Looks, ...]
    confusables: tuple[str, ...]  # codes that the confusion table stands on, seen or not
    clusters: Clusters | None
    contamination: tuple[Contamination, ...]  # of each step that looked
    samples: tuple[PairSample, ...]
    translators: tuple[dict[str, Any], ...]
    doses: dict[str, list[dict[str, Any]]]  # by stage
    rules: dict[str, dict[str, int]]  # kept rows that each rule changed, by documents, pairs and instructions


def load_data(root: Path, stages: tuple[str, ...]) -> DataPart:
    """Return it; raise UserError where a file holds something else than its step writes."""
    corpus = read_object(root / "corpus" / "stats.json") or {}
    synth = read_object(root / "synth" / "stats.json") or {}
    samples = root / "synth" / "samples.parquet"
    total = (corpus.get("total") or {}).get("corpus") or {}
    return DataPart(
        looks=tuple(_looks(corpus)),
        confusables=tuple((read_object(root / "corpus" / "confusion.json") or {}).get("columns") or ())[1:],
        clusters=_clusters(root),
        contamination=load_contamination(root),
        samples=tuple(read_rows(samples, PairSample)) if samples.exists() else (),
        translators=tuple(synth.get("translators") or ()),
        doses={name: saw for name in stages if (saw := _saw(root, name)) is not None},
        rules={"documents": dict(total.get("normalized") or {}), **_touched(root)},
    )


def _looks(corpus: dict[str, Any]) -> list[Looks]:
    found = []
    for index, item in enumerate(corpus.get("inputs") or []):
        counts = item.get("languages")
        if isinstance(counts, dict) and counts:
            name = name_of(item) or str(index)
            where = f"corpus/stats.json: inputs[{index}].languages"
            found.append(
                Looks(where, name, str(item.get("language", "")), {k: int(n) for k, n in counts.items()})
            )
    return found


def name_of(item: dict[str, Any]) -> str:
    """Return what an input is called: its source, or its file where nobody named one."""
    named = str(item.get("source") or item.get("name") or "")
    path = Path(str(item.get("path") or "")).name
    return named if named not in ("", "unknown") or not path else f"{path}, source unknown"


def _clusters(root: Path) -> Clusters | None:
    path = root / "corpus" / "clusters.parquet"
    if not path.exists():
        return None
    members: dict[str, list[Duplicate]] = defaultdict(list)
    for row in read_rows(path, Duplicate):
        members[row.cluster].append(row)
    rows = [row for group in members.values() for row in group]
    sizes = Counter(_size(len(group)) for group in members.values())
    most = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))[:LARGEST]
    heads = {next((row.id for row in group if row.kept), name): (name, group) for name, group in most}
    texts = beginnings(root, set(heads))
    return Clusters(
        clusters=len(members),
        documents=len(rows),
        dropped=sum(not row.kept for row in rows),
        exact=sum(row.exact and not row.kept for row in rows),
        sizes={size: sizes[size] for size in ("2", "3 to 5", "6 to 20", "more than 20") if sizes[size]},
        largest=tuple(
            Cluster(head, len(group), sum(row.exact for row in group), texts.get(head, ""))
            for head, (_, group) in heads.items()
        ),
    )


def _size(count: int) -> str:
    return "2" if count <= 2 else "3 to 5" if count <= 5 else "6 to 20" if count <= 20 else "more than 20"


def _touched(root: Path) -> dict[str, dict[str, int]]:
    """Return how many kept pairs and instructions each rule changed; a file without the column is left out."""
    paths = {name: root / "synth" / f"{name}.parquet" for name in ("pairs", "instructions")}
    found = {name: rules_of(path) for name, path in paths.items() if path.exists()}
    return {name: rules for name, rules in found.items() if rules is not None}


def beginnings(root: Path, ids: set[str]) -> dict[str, str]:
    """Return the beginnings of some documents; a large corpus is read a piece at a time."""
    import pyarrow.parquet as pq

    found: dict[str, str] = {}
    for name in ("documents", "replay"):
        path = root / "corpus" / f"{name}.parquet"
        if not ids or not path.exists():
            continue
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(10_000, columns=["id", "text"]):
                for row in batch.to_pylist():
                    if row["id"] in ids:
                        found.setdefault(row["id"], row["text"][:SHOWN])
    return found


def _saw(root: Path, stage: str) -> list[dict[str, Any]] | None:
    """Return what a stage saw, from data.json beside its adapter; None where it says nothing."""
    data = read_object(root / "train" / stage / "adapter" / "data.json")
    held = next((one for one in (data or {}).get("stages") or [] if one.get("stage") == stage), None)
    return list(held["saw"]) if held else None
