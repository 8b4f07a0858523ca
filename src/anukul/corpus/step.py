"""The corpus step: inputs in order -> documents, replay, what was dropped and why; shards outlive a kill.

Rows are read here, one shard after another, and judged by workers. What needs all of them, copies and ids, is found
from the sketches that the workers leave; then the shards are sorted out by workers again, and put together in their
order. So the output is the same for any number of workers, and after any kill.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import CorpusSettings, RunConfig, TextInput
from anukul.contamination import Tally, forget, gather, indexed
from anukul.corpus.confusion import confusion
from anukul.corpus.copies import JudgedShard, find_copies, repeated_ids
from anukul.corpus.judged import JudgeJob, judge_shard
from anukul.corpus.readers import Reader, expected_documents, files_of, revision_of, shards
from anukul.corpus.sorted_out import TABLES, SortJob, sort_shard
from anukul.corpus.workers import Crew, J, Job, Work, clear, cores
from anukul.errors import UserError
from anukul.languages import load
from anukul.licenses import check_rows, say_unknown
from anukul.progress import Bar, bar, say
from anukul.rundir import Result, read_json, remove_folder, write_json
from anukul.tables import Shards, add_up, reasons
from anukul.text.files import BadFiles

SHARD_ROWS = 20_000  # of a shard: what a kill can cost
SHARD_CHARACTERS = (
    2_000_000  # so that long documents fill no memory, and no worker waits long for another at the end
)
EMPTY: dict[str, Any] = {"read": 0, "kept": 0, "characters": 0, "words": 0}
EMPTY |= {"dropped": {}, "cut": {}, "normalized": {}, "looks_like": {}}
EMPTY_JUDGED: dict[str, Any] = {"masked": {}, "languages": {}}
MUCH = 8_000_000  # bytes of all inputs
OUTPUTS = ("documents", "replay", "dropped", "clusters")
PARAGRAPH_CLUSTERS = "paragraph_clusters.parquet"
Summary = dict[str, Any]


@dataclass(slots=True)
class Read:
    """One input and the judged shards of it."""

    kind: str
    index: int
    language: str
    item: TextInput
    shards: list[JudgedShard]
    stats: list[dict[str, Any]]  # of the shards
    files: int
    bad_files: dict[int, str]  # with the reason
    bad_names: dict[str, str]


def run(config: RunConfig, root: Path) -> Result:
    """Write documents, replay, dropped, clusters and stats under `root`/corpus.

    Raises UserError when nothing is left.
    """
    settings = config.corpus
    if settings is None:
        raise UserError(f"{config.name}: there is no `corpus` section in the config; add one with `inputs`")
    folder = root / "corpus"
    parts = folder / "parts"
    outputs = [*(f"{name}.parquet" for name in OUTPUTS), "confusion.json", "stats.json"]
    if settings.dedup.level == "paragraph":
        outputs.append(PARAGRAPH_CLUSTERS)
    if settings.decontaminate:
        outputs.append("contamination.json")
    if not (folder / "stats.json").exists():  # it is written last
        clear(parts)
        _make(config, settings, folder)
    stats = read_json(folder / "stats.json")
    for kind in ("corpus", *(["replay"] if settings.replay else [])):
        _refuse_empty(kind, [item for item in stats["inputs"] if item["kind"] == kind])
        name = "replay.parquet" if kind == "replay" else "documents.parquet"
        check_rows(folder / name, f"corpus/{name}", config)
    remove_folder(parts)
    forget()
    return Result(outputs, dict(stats["rows"]))


def _make(config: RunConfig, settings: CorpusSettings, folder: Path) -> None:
    inputs = [("corpus", config.language, item) for item in settings.inputs]
    inputs += [("replay", config.base_language, item) for item in settings.replay]
    workers = settings.workers or (cores() if settings.engine == "ray" or _is_much(inputs) else 1)
    _say_unknown(inputs)
    evaluated = None
    if settings.decontaminate:
        evaluated = folder / "parts" / "evaluated.parquet"
        gather(config, evaluated)
    with closing(Crew(workers)) as crew:
        read = _judge(settings, inputs, evaluated, folder / "parts" / "judged", crew)
        final = Shards(folder / "parts" / "final", TABLES)
        _sort_out(settings, evaluated, read, final, crew)
    summaries = [_summary(one, final) for one in read]
    for summary in summaries:
        if summary["kept"] < summary["read"]:
            kept = f"kept {summary['kept']:,} of {summary['read']:,}"
            say(f"corpus: {summary['path']}: {kept}; {reasons(summary['dropped'])}")
    rows = {
        "documents": _merge(final, "documents", folder / "documents.parquet", "corpus"),
        "replay": _merge(final, "documents", folder / "replay.parquet", "replay"),
        "dropped": _merge(final, "dropped", folder / "dropped.parquet"),
        "clusters": _merge(final, "clusters", folder / "clusters.parquet"),
    }
    if settings.dedup.level == "paragraph":
        rows["paragraph_clusters"] = _merge(final, "paragraphs", folder / PARAGRAPH_CLUSTERS)
    if settings.decontaminate and evaluated:
        tally = Tally.summed(final.stats(name)["contamination"] for name in final.names)
        report = tally.report(indexed(evaluated, settings.decontaminate))
        write_json(folder / "contamination.json", report)
        if tally.dropped:
            say(f"corpus: {tally.dropped:,} documents held what the run evaluates on: {_touched(report)}")
    language = load(config.language)
    looked = [(item["path"], item["languages"]) for item in summaries if item["kind"] == "corpus"]
    table = confusion(looked, [language.code, *language.confusables])
    write_json(folder / "confusion.json", table.as_json())
    write_json(folder / "stats.json", {"inputs": summaries, "total": _totals(summaries), "rows": rows})


def _is_much(inputs: Sequence[tuple[str, str, TextInput]]) -> bool:
    """Whether the inputs are worth starting processes for, which takes seconds."""
    found = [files_of(item) for *_, item in inputs]
    files = [file for each in found for file in each]
    return not all(found) or sum(file.stat().st_size for file in files) > MUCH


def _touched(report: dict[str, Any]) -> str:
    """Put into words how many items of each set were found in the texts."""
    sets = report["sets"].items()
    return ", ".join(
        f"{found['items_touched']:,} of {found['items']:,} items of {name}"
        for name, found in sets
        if found["items_touched"]
    )


def _say_unknown(inputs: Sequence[tuple[str, str, TextInput]]) -> None:
    """Say once for each input what nobody has said of it."""
    for kind, _, item in inputs:
        say_unknown(f"corpus: {item.path} ({kind})", item.unknown)


def _judge(
    settings: CorpusSettings,
    inputs: Sequence[tuple[str, str, TextInput]],
    evaluated: Path | None,
    folder: Path,
    crew: Crew,
) -> list[Read]:
    """Read all inputs and have their rows judged; what stands from before is not made again."""
    readers = [Reader(item) for _, _, item in inputs]
    bad = BadFiles.within(settings.max_bad_files, sum(len(reader.labels) for reader in readers))
    for reader in readers:
        reader.bad = bad
    read: list[Read] = []
    total = sum(expected_documents(item) for _, _, item in inputs)
    with bar("corpus: read", total, "documents") as progress:
        meter = _Meter(progress)

        def jobs() -> Iterator[JudgeJob]:
            places = {"corpus": 0, "replay": 0}
            for (kind, language, item), reader in zip(inputs, readers, strict=True):
                one = Read(kind, places[kind], language, item, [], [], len(reader.labels), {}, {})
                places[kind] += 1
                read.append(one)
                for rows in shards(reader.documents(), SHARD_ROWS, SHARD_CHARACTERS):
                    target = folder / f"{kind}-{one.index:04d}-{len(one.shards):06d}"
                    one.shards.append(JudgedShard(target, kind, one.index, one.bad_files))
                    if target.is_dir():
                        meter.count(target, before=True)
                        continue
                    name = f"{item.path}, rows {rows[0].number + 1:,} to {rows[-1].number + 1:,}"
                    yield JudgeJob(target, name, language, settings, evaluated, rows)
                one.bad_files.update(reader.bad_files)
                one.bad_names = {reader.labels[file]: why for file, why in reader.bad_files.items()}

        _work(settings, crew, jobs(), judge_shard, lambda job: meter.count(job.target))
        progress.grow(progress.done - progress.total)
    for one in read:
        one.stats = [read_json(shard.folder / "stats.json") for shard in one.shards]
    return read


def _work(
    settings: CorpusSettings, crew: Crew, jobs: Iterator[J], work: Work[J], done: Callable[[Job], None]
) -> None:
    if settings.engine == "local":
        crew.run(jobs, work, done)
        return
    from anukul.corpus.on_ray import run_on_ray

    run_on_ray(jobs, work, crew.workers, done, settings.ray_address)


class _Meter:
    """Puts what the shards hold beside the bar: documents and megabytes a second."""

    def __init__(self, progress: Bar) -> None:
        self.progress = progress
        self.bytes = 0

    def count(self, shard: Path, before: bool = False) -> None:
        """Take in a shard that stands; `before` where an earlier process made it."""
        stats = read_json(shard / "stats.json")
        progress = self.progress
        progress.grow(max(0, progress.done + stats["rows"] - progress.total))
        if before:
            progress.skip(stats["rows"])
            return
        self.bytes += stats["bytes"]
        rate = self.bytes / 1e6 / max(progress.seconds, 1e-9)
        progress.advance(stats["rows"], f"{rate:.1f} MB/s")


def _sort_out(
    settings: CorpusSettings, evaluated: Path | None, read: Sequence[Read], final: Shards, crew: Crew
) -> None:
    """Find copies and ids that are taken, and have the final rows of every shard written."""
    total = sum(stats["rows"] for one in read for stats in one.stats)
    with bar("corpus: copies", total, "documents") as progress:
        meter = {}

        def jobs() -> Iterator[SortJob]:
            for kind in ("corpus", "replay"):
                own = [(one, shard) for one in read if one.kind == kind for shard in one.shards]
                names = [shard.folder.name for _, shard in own]
                waiting = {name for name in names if not final.has(name)}
                for one in read:
                    if one.kind == kind:
                        for shard, stats in zip(one.shards, one.stats, strict=True):
                            meter[shard.folder.name] = stats["rows"]
                            if shard.folder.name not in waiting:
                                progress.skip(stats["rows"])
                if not waiting:
                    continue
                repeated = repeated_ids([shard for _, shard in own])
                copies = find_copies([shard for _, shard in own], settings.dedup)
                for (one, shard), again, same in zip(own, repeated, copies, strict=True):
                    name = shard.folder.name
                    if name in waiting:
                        yield SortJob(
                            final.folder / name,
                            f"{one.item.path}, {name}",
                            shard.folder,
                            kind,
                            one.index,
                            one.bad_files,
                            again,
                            same,
                            one.language,
                            settings,
                            evaluated,
                        )

        _work(settings, crew, jobs(), sort_shard, lambda job: progress.advance(meter[job.target.name]))


def _merge(final: Shards, table: str, target: Path, kind: str = "") -> int:
    chosen = Shards(final.folder, TABLES)
    chosen.names = [name for name in final.names if name.startswith(kind)]
    return chosen.merge(table, target)


def _summary(one: Read, final: Shards) -> Summary:
    """Return what stats.json says of an input."""
    item = one.item
    found = [final.stats(shard.folder.name) for shard in one.shards]
    summary: Summary = {"kind": one.kind, "path": item.path, "language": one.language}
    summary |= {"source": item.source, "license": item.license} | add_up(found, EMPTY)
    summary |= add_up(one.stats, EMPTY_JUDGED)
    summary |= {"unknown": item.unknown, "files": one.files, "bad_files": one.bad_names}
    summary["revision"] = revision_of(item)
    return summary


def _totals(summaries: list[Summary]) -> dict[str, Any]:
    kinds = ("corpus", "replay")
    empty = EMPTY | EMPTY_JUDGED
    return {kind: add_up([item for item in summaries if item["kind"] == kind], empty) for kind in kinds}


def _refuse_empty(kind: str, summaries: list[Summary]) -> None:
    """Raise UserError when nothing of a kind is left, saying what it looked like instead."""
    total = add_up(summaries, EMPTY)
    if total["kept"]:
        return
    code = summaries[0]["language"]
    if not total["read"]:
        paths = ", ".join(item["path"] for item in summaries)
        why = "the files are empty, or `skip` leaves nothing"
        raise UserError(f"{kind}: no document left: 0 read from {paths}; {why}")
    message = f"{kind}: no document left: {total['read']:,} read, {reasons(total['dropped'])}"
    if total["looks_like"]:
        other = max(total["looks_like"], key=lambda name: total["looks_like"][name])
        count = total["looks_like"][other]
        message += f"; the text looks like {other} and not {code} ({count:,} of {total['read']:,})"
    raise UserError(f"{message}; every dropped row is in corpus/dropped.parquet with its reason")
