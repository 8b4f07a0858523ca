"""The synth step: given pairs, instructions, and translations of documents that have no pair yet."""

from pathlib import Path
from typing import Any

from anukul.config import RunConfig, SynthSettings
from anukul.contamination import Tally
from anukul.errors import UserError
from anukul.licenses import of_model
from anukul.progress import bar, say
from anukul.records import PairSample, write_rows
from anukul.rundir import Result, write_json
from anukul.synth.given import add_instructions, add_pairs
from anukul.synth.instructions import expected_instructions
from anukul.synth.pairs import expected_pairs
from anukul.synth.samples import draw
from anukul.synth.state import EMPTY, KINDS, TABLES, Synth
from anukul.synth.translate import describe
from anukul.synth.translations import MADE, translate_documents
from anukul.tables import Shards, add_up, reasons

SHARD = 20_000  # rows read per shard: what a kill can cost


def run(config: RunConfig, root: Path) -> Result:
    """Write pairs, instructions, dropped, samples and stats under `root`/synth.

    Raises UserError when the section asks for nothing, or when nothing is left of what it asks for.
    """
    settings = config.synth
    if settings is None or not (settings.pairs or settings.instructions or settings.translate):
        raise UserError(
            f"{config.name}: `synth` gives nothing to do; add `pairs`, `instructions` or `translate`"
        )
    synth = Synth(config, settings, root)
    folder = root / "synth"
    summaries = _given(synth, settings)
    if settings.translate:
        asked = settings.translate
        license_name = of_model(asked.model, asked.license)
        stats = translate_documents(synth, asked)
        summaries.append(_summary("translations", asked.model, asked.engine, license_name, stats, MADE))
    together = Shards(folder / "parts", TABLES)
    together.names = [f"{kind}/{name}" for kind in KINDS for name in synth.shards[kind].names]
    rows = {table: together.merge(table, folder / f"{table}.parquet") for table in TABLES}
    samples = draw(synth.shards, ("pairs", "translations"), settings.samples, config.seed)
    rows["samples"] = write_rows(folder / "samples.parquet", samples, PairSample)
    totals = {kind: add_up([item for item in summaries if item["kind"] == kind], EMPTY) for kind in KINDS}
    outputs = [*(f"{table}.parquet" for table in rows), "stats.json"]
    if synth.contamination is not None:
        tally = Tally.summed(
            synth.shards[kind].stats(name)["contamination"]
            for kind in KINDS
            for name in synth.shards[kind].names
        )
        write_json(folder / "contamination.json", tally.report(synth.contamination))
        outputs.append("contamination.json")
    write_json(
        folder / "stats.json",
        {
            "inputs": summaries,
            "total": totals,
            "translators": _translators(settings, config.seed),
            "filters": synth.costly.describe(),
        },
    )
    _refuse_empty(settings, rows, totals)
    together.remove()
    return Result(outputs, rows)


def _given(synth: Synth, settings: SynthSettings) -> list[dict[str, Any]]:
    summaries: list[dict[str, Any]] = []
    total = sum(map(expected_pairs, settings.pairs)) + sum(map(expected_instructions, settings.instructions))
    if total:
        with bar("synth", total, "rows") as progress:
            for index, item in enumerate(settings.pairs):
                stats = add_pairs(synth, index, item, SHARD, progress)
                summaries.append(_summary("pairs", item.source, item.name, item.license, stats))
            for index, one in enumerate(settings.instructions):
                stats = add_instructions(synth, index, one, SHARD, progress)
                summaries.append(_summary("instructions", one.path, one.source, one.license, stats))
    return summaries


def _summary(
    kind: str,
    path: str,
    name: str,
    license_name: str,
    stats: list[dict[str, Any]],
    empty: dict[str, Any] = EMPTY,
) -> dict[str, Any]:
    """Return the summary of one input, and say what was dropped."""
    summary = {"kind": kind, "path": path, "name": name, "license": license_name} | add_up(stats, empty)
    if summary["kept"] < summary["read"]:
        kept = f"kept {summary['kept']:,} of {summary['read']:,}"
        say(f"synth: {kind}: {path}: {kept}; {reasons(summary['dropped'])}")
    return summary


def _translators(settings: SynthSettings, seed: int) -> list[dict[str, Any]]:
    """Return what stats.json records of every translator of the run, documents' first, each once."""
    asked = [settings.translate] if settings.translate else []
    asked += [item.translate for item in settings.instructions if item.translate]
    found: list[dict[str, Any]] = []
    for one in asked:
        described = describe(one, seed)
        if described not in found:
            found.append(described)
    return found


def _refuse_empty(settings: SynthSettings, rows: dict[str, int], totals: dict[str, dict[str, Any]]) -> None:
    """Raise UserError when pairs or instructions were asked for and none is left."""
    asked = {"pairs": bool(settings.pairs or settings.translate), "instructions": bool(settings.instructions)}
    for table, wanted in asked.items():
        if not wanted or rows[table]:
            continue
        kinds = ("pairs", "translations") if table == "pairs" else ("instructions",)
        total = add_up([totals[kind] for kind in kinds], EMPTY)
        why = reasons(total["dropped"]) if total["read"] else "the inputs are empty"
        raise UserError(
            f"synth: none of the {table} is left: {total['read']:,} read, {why}; "
            "every dropped row is in synth/dropped.parquet with its reason"
        )
