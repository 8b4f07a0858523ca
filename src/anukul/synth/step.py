"""The synth step: given pairs, instructions, and translations of documents that have no pair yet."""

from pathlib import Path
from typing import Any

from anukul.config import InstructionInput, PairInput, RunConfig, SynthSettings, TranslateSettings
from anukul.contamination import Tally, forget
from anukul.errors import UserError
from anukul.licenses import check_rows, of_model, say_unknown
from anukul.progress import bar, say
from anukul.records import PairSample, write_rows
from anukul.rundir import Result, read_json, remove_folder, write_json
from anukul.synth.given import add_instructions, add_pairs
from anukul.synth.instructions import instruction_files, read_instructions
from anukul.synth.pairs import made_by, pair_files, read_pairs
from anukul.synth.samples import draw
from anukul.synth.sources import Files
from anukul.synth.state import EMPTY, KINDS, TABLES, Synth, decontaminates
from anukul.synth.translate import describe
from anukul.synth.translations import MADE, translate_documents
from anukul.tables import Shards, add_up, reasons
from anukul.text.files import BadFiles

SHARD = 20_000  # rows read per shard, where no model takes part: what a kill can cost


def run(config: RunConfig, root: Path) -> Result:
    """Write pairs, instructions, dropped, samples and stats under `root`/synth.

    Raises UserError when the section asks for nothing, or when nothing is left of what it asks for.
    """
    settings = config.synth
    if settings is None or not (settings.pairs or settings.instructions or settings.translate):
        raise UserError(
            f"{config.name}: `synth` gives nothing to do; add `pairs`, `instructions` or `translate`"
        )
    folder = root / "synth"
    if not (folder / "stats.json").exists():  # it is written last
        if settings.translate:  # before anything is paid for
            check_rows(root / "corpus" / "documents.parquet", "corpus/documents.parquet", config)
        _make(config, settings, root, folder)
    stats = read_json(folder / "stats.json")
    _refuse_empty(settings, stats)
    for table in ("pairs", "instructions"):
        check_rows(folder / f"{table}.parquet", f"synth/{table}.parquet", config)
    remove_folder(folder / "parts")
    outputs = [*(f"{table}.parquet" for table in stats["rows"]), "stats.json"]
    if decontaminates(config) is not None:
        outputs.append("contamination.json")
    forget()
    return Result(outputs, dict(stats["rows"]))


def _make(config: RunConfig, settings: SynthSettings, root: Path, folder: Path) -> None:
    synth = Synth(config, settings, root)
    summaries = _given(synth, settings)
    if settings.translate:
        asked = settings.translate
        license_name = of_model(asked.model, asked.license)
        stats = translate_documents(synth, asked)
        summaries.append(_summary("translations", asked.model, asked.engine, license_name, stats, MADE))
    together = Shards(synth.parts, TABLES)
    together.names = [f"{kind}/{name}" for kind in KINDS for name in synth.shards[kind].names]
    rows = {table: together.merge(table, folder / f"{table}.parquet") for table in TABLES}
    samples = draw(synth.shards, ("pairs", "translations"), settings.samples, config.seed)
    rows["samples"] = write_rows(folder / "samples.parquet", samples, PairSample)
    if synth.contamination is not None:
        tally = Tally.summed(
            synth.shards[kind].stats(name)["contamination"]
            for kind in KINDS
            for name in synth.shards[kind].names
        )
        write_json(folder / "contamination.json", tally.report(synth.contamination))
    totals = {kind: add_up([item for item in summaries if item["kind"] == kind], EMPTY) for kind in KINDS}
    write_json(
        folder / "stats.json",
        {
            "inputs": summaries,
            "total": totals,
            "translators": _translators(settings, config.seed),
            "filters": synth.costly.describe(),
            "rows": rows,
        },
    )


def _given(synth: Synth, settings: SynthSettings) -> list[dict[str, Any]]:
    summaries: list[dict[str, Any]] = []
    for given in settings.pairs:
        say_unknown(f"synth: {given.source} (pairs)", given.unknown)
    for asked in settings.instructions:
        say_unknown(f"synth: {asked.path} (instructions)", asked.unknown)
    pairs = [(item, pair_files(item)) for item in settings.pairs]
    instructions = [(item, instruction_files(item)) for item in settings.instructions]
    _look_over(settings, pairs, instructions)
    if pairs:
        total = sum(files.expected for _, files in pairs)
        judges = (settings.forced_score, settings.round_trip)
        size = _shard_rows(*(judge.translator for judge in judges if judge))
        with bar("synth: pairs", total, "rows") as progress:
            for index, (item, files) in enumerate(pairs):
                stats = add_pairs(synth, index, item, files, size, progress)
                summaries.append(_summary("pairs", item.source, item.name, item.license, stats, files=files))
    for index, (one, files) in enumerate(instructions):
        # a bar each, as rows that are translated take far longer than rows that are read
        name = f"synth: {'translate ' if one.translate else ''}instructions.{index}"
        with bar(name, files.expected, "rows") as progress:
            size = _shard_rows(*filter(None, [one.translate]))
            stats = add_instructions(synth, index, one, files, size, progress)
        summaries.append(_summary("instructions", one.path, one.source, one.license, stats, files=files))
    return summaries


def _shard_rows(*asked: TranslateSettings) -> int:
    """Return how many rows are judged before they are written; fewer where models take part, which is slow or paid."""
    return min([SHARD, *(one.rows_per_shard for one in asked)])


def _look_over(
    settings: SynthSettings,
    pairs: list[tuple[PairInput, Files]],
    instructions: list[tuple[InstructionInput, Files]],
) -> None:
    """Find the files that cannot be read to their end; raise UserError where they are too many."""
    held = [*(files for _, files in pairs), *(files for _, files in instructions)]
    bad = BadFiles.within(settings.max_bad_files, sum(files.count for files in held), "synth")
    if not held:
        return
    with bar("synth: files", sum(len(files.paths) for files in held), "files") as progress:
        for item, files in pairs:
            files.look_over(bad, read_pairs(item, files))
            progress.advance(len(files.paths))
        for one, files in instructions:
            files.look_over(bad, read_instructions(one, files))
            progress.advance(len(files.paths))


def _summary(
    kind: str,
    path: str,
    name: str,
    license_name: str,
    stats: list[dict[str, Any]],
    empty: dict[str, Any] = EMPTY,
    files: Files | None = None,
) -> dict[str, Any]:
    """Return the summary of one input, and say what was dropped."""
    summary = {"kind": kind, "path": path, "name": name, "license": license_name} | add_up(stats, empty)
    if files is not None:
        summary |= {"files": len(files.paths), "bad_files": files.bad_files}
    if summary["kept"] < summary["read"]:
        kept = f"kept {summary['kept']:,} of {summary['read']:,}"
        say(f"synth: {kind}: {path}: {kept}; {reasons(summary['dropped'])}")
    return summary


def _translators(settings: SynthSettings, seed: int) -> list[dict[str, Any]]:
    """Return what stats.json records of every translator: documents' first, then those of given pairs, each once."""
    asked = [settings.translate] if settings.translate else []
    asked += [item.translate for item in settings.instructions if item.translate]
    found: list[dict[str, Any]] = []
    for one in asked:
        described = describe(one, seed)
        if described not in found:
            found.append(described)
    for given in settings.pairs:
        by = made_by(given)
        named = {"id": by.translator, "model": by.translator, "license": by.license, "of": given.name}
        if by.translator and named not in found:
            found.append(named)
    return found


def _refuse_empty(settings: SynthSettings, stats: dict[str, Any]) -> None:
    """Raise UserError when pairs or instructions were asked for and none is left."""
    asked = {"pairs": bool(settings.pairs or settings.translate), "instructions": bool(settings.instructions)}
    for table, wanted in asked.items():
        if not wanted or stats["rows"][table]:
            continue
        kinds = ("pairs", "translations") if table == "pairs" else ("instructions",)
        total = add_up([stats["total"][kind] for kind in kinds], EMPTY)
        lost = sum(len(item.get("bad_files", ())) for item in stats["inputs"] if item["kind"] in kinds)
        empty = f"{lost:,} files cannot be read" if lost else "the inputs are empty"
        why = reasons(total["dropped"]) if total["read"] else empty
        raise UserError(
            f"synth: none of the {table} is left: {total['read']:,} read, {why}; "
            "every dropped row is in synth/dropped.parquet with its reason"
        )
