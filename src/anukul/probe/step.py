"""The probe step: treebank in; heads.parquet, heads.csv, selected.json and case.json out."""

import csv
import io
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from anukul import progress
from anukul.config import ProbeSettings, RunConfig, resolve
from anukul.errors import UserError
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.probe import case, heads, resample
from anukul.probe.align import align
from anukul.probe.observe import Observed, Prepared, observe
from anukul.probe.treebank import Arc, Sentence, arcs_of, read_treebank
from anukul.records import HeadScore, write_rows
from anukul.rundir import Result, write_atomic, write_json

MODELS = ("base", "adapted")


def run(config: RunConfig, root: Path) -> Result:
    """Probe base and adapted on the same sentences; continue where a killed run stopped."""
    settings = config.probe
    if settings is None:
        raise UserError("probe: the config has no `probe` section; add one with treebank and language")
    if config.train is None:
        raise UserError(
            "probe: the config has no `train` section, so there is no adapter to compare with the base"
        )
    folder = root / "probe"
    treebank = resolve(settings.treebank)
    sentences = read_treebank(treebank, settings.max_sentences)
    _check_relations(settings, treebank, sentences)
    if settings.case_study is not None:
        case.find_words(settings.case_study)
    loaded = load_base(config.model)
    load_adapter(loaded, root / "train" / config.train.stages[-1].name / "adapter")
    if settings.case_study is not None and not (folder / "case.json").exists():
        write_json(folder / "case.json", case.study(loaded, settings.case_study))
    work = prepare(sentences, loaded, settings.relations)
    table = _table(work.items, config.seed)
    groups, rare = heads.groups_of(table, settings.min_arcs, settings.relations)
    _say_rare(settings, treebank, groups, rare, work)
    batches = _batches(work.items, settings.batch_sentences)
    _observe_all(loaded, work, batches, folder / "parts")
    return _write(config, settings, folder, work, table, groups, rare, batches)


@dataclass(frozen=True, slots=True)
class Work:
    """The sentences to run, and how many sentences and arcs cannot be."""

    items: list[Prepared]  # cut into tokens as the adapted model reads them
    base_items: list[Prepared]  # the same sentences and arcs, as the base reads them
    too_long: int
    unaligned: int


def prepare(sentences: Sequence[Sentence], loaded: Loaded, relations: tuple[str, ...]) -> Work:
    """Tokenise; keep sentences that fit the window, and arcs whose words both have a token, in both models."""
    items, base_items = [], []
    too_long = unaligned = 0
    for sentence in sentences:
        aligned = of_base = align(sentence, loaded.tokenizer, loaded.prefix_id)
        if loaded.vocabulary is not None:
            of_base = align(sentence, loaded.base_tokenizer, loaded.prefix_id)
        if max(len(aligned.ids), len(of_base.ids)) > loaded.max_positions:
            too_long += 1
            continue
        wanted = [arc for arc in arcs_of(sentence) if not relations or arc.relation in relations]
        last = np.minimum(aligned.last, of_base.last)
        seen = tuple(arc for arc in wanted if min(last[arc.query], last[arc.key]) >= 0)
        unaligned += len(wanted) - len(seen)
        if seen:
            items.append(Prepared(aligned, seen))
            base_items.append(Prepared(of_base, seen))
    return Work(items, base_items, too_long, unaligned)


def _check_relations(settings: ProbeSettings, treebank: Path, sentences: Sequence[Sentence]) -> None:
    found = {arc.relation for sentence in sentences for arc in arcs_of(sentence)}
    missing = [relation for relation in settings.relations if relation not in found]
    if missing:
        raise UserError(
            f"probe.relations: {', '.join(missing)}: not in {treebank}; "
            f"it has {', '.join(sorted(found)) or 'none'}"
        )


def _say_rare(
    settings: ProbeSettings,
    treebank: Path,
    groups: Sequence[heads.Group],
    rare: Sequence[dict[str, Any]],
    work: Work,
) -> None:
    if work.too_long:
        progress.say(f"  {work.too_long} sentences are longer than the model's window and left out")
    if work.unaligned:
        progress.say(f"  {work.unaligned} arcs left out: one of their words has no token of its own")
    if not groups:
        raise UserError(
            f"probe.min_arcs: no relation has {settings.min_arcs} arcs in one direction in {treebank}; "
            "lower it or give a larger treebank"
        )
    if rare:
        most = sorted(rare, key=lambda item: -int(item["n"]))[:6]
        shown = ", ".join(f"{item['relation']}/{item['direction']} ({item['n']} arcs)" for item in most)
        more = f" and {len(rare) - len(most)} more, all in selected.json" if len(rare) > len(most) else ""
        progress.say(f"  too rare to score: {shown}{more}")


def _table(items: Sequence[Prepared], seed: int) -> heads.ArcTable:
    arcs: list[Arc] = []
    sentence: list[int] = []
    half: list[int] = []
    for number, item in enumerate(items):
        arcs += item.arcs
        sentence += [number] * len(item.arcs)
        half += [heads.HALVES.index(heads.half_of(seed, item.aligned.sentence.id))] * len(item.arcs)
    return heads.ArcTable(tuple(arcs), np.array(sentence, dtype=np.int64), np.array(half, dtype=np.int64))


def _batches(items: Sequence[Prepared], size: int) -> list[list[int]]:
    """Return the items' numbers in batches of like length, so that little is padding."""
    order = sorted(range(len(items)), key=lambda number: (len(items[number].aligned.ids), number))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _part(parts: Path, model: str, number: int) -> Path:
    return parts / f"{model}-{number:06d}.npz"


def _observe_all(loaded: Loaded, work: Work, batches: Sequence[list[int]], parts: Path) -> None:
    """Write the part of every model and batch that is not there yet."""
    with progress.bar("probe", len(MODELS) * len(work.items), "sentences") as bar:
        for model in MODELS:
            items = work.base_items if model == "base" else work.items
            with loaded.base_only() if model == "base" else nullcontext():
                for number, batch in enumerate(batches):
                    path = _part(parts, model, number)
                    if not path.exists():
                        observe(loaded, [items[i] for i in batch]).save(path)
                    bar.advance(len(batch), model)


def _gather(
    items: Sequence[Prepared], batches: Sequence[list[int]], parts: Path, model: str
) -> tuple[heads.Scores, list[list[float]]]:
    """Put one model's parts together in the order of the arc table; also the mean sink `[layers][heads]`."""
    starts = np.cumsum([0, *(len(item.arcs) for item in items)])
    seen = [Observed.load(_part(parts, model, number)) for number in range(len(batches))]
    shape = (int(starts[-1]), *seen[0].correct.shape[1:])
    scores = heads.Scores(np.empty(shape, dtype=np.bool_), np.empty(shape, dtype=np.float32))
    for batch, part in zip(batches, seen, strict=True):
        places = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in batch])
        scores.correct[places] = part.correct
        scores.mass[places] = part.mass
    sink = sum((part.sink for part in seen), np.zeros(shape[1:])) / sum(part.rows for part in seen)
    return scores, sink.tolist()


def _write(
    config: RunConfig,
    settings: ProbeSettings,
    folder: Path,
    work: Work,
    table: heads.ArcTable,
    groups: Sequence[heads.Group],
    rare: list[dict[str, Any]],
    batches: Sequence[list[int]],
) -> Result:
    """Score the observations and write the step's files; the parts go last."""
    models: dict[str, heads.Scores] = {}
    sink: dict[str, list[list[float]]] = {}
    for model in MODELS:
        models[model], sink[model] = _gather(work.items, batches, folder / "parts", model)
    rows = [
        row
        for model, scores in models.items()
        for group in groups
        for row in heads.head_rows(table, group, model, scores, config.seed)
    ]
    entries = [heads.select(table, group, models, config.seed) for group in groups]
    heads.add_q_values(entries, MODELS)
    in_report = len({int(s) for s in table.sentence[table.half == 1]})
    selected = {
        "treebank": settings.treebank,
        "language": settings.language,
        "seed": config.seed,
        "min_arcs": settings.min_arcs,
        "resamples": resample.RESAMPLES,
        "confidence": resample.CONFIDENCE,
        "sentences": {
            "scored": len(work.items),
            "selection": len(work.items) - in_report,
            "report": in_report,
            "too_long": work.too_long,
        },
        "arcs": {"scored": len(table.arcs), "unaligned": work.unaligned},
        "relations": entries,
        "too_rare": rare,
        "sink": sink,
    }
    count = write_rows(folder / "heads.parquet", rows, HeadScore)
    write_atomic(folder / "heads.csv", _csv(rows))
    write_json(folder / "selected.json", selected)
    shutil.rmtree(folder / "parts", ignore_errors=True)
    outputs = ["heads.parquet", "heads.csv", "selected.json"] + (["case.json"] if settings.case_study else [])
    return Result(outputs, {"sentences": len(work.items), "arcs": len(table.arcs), "heads": count})


def _csv(rows: Sequence[HeadScore]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([field.name for field in fields(HeadScore)])
    writer.writerows(astuple(row) for row in rows)
    return buffer.getvalue()
