"""The probe step: treebank and minimal pairs in; tables of heads, pairs and knock-outs out."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anukul import progress
from anukul.config import ProbeSettings, RunConfig, resolve
from anukul.errors import UserError
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.model.loaded import Loaded
from anukul.probe import case
from anukul.probe.experiment import asked_of, knock_out
from anukul.probe.heads import Group, groups_of
from anukul.probe.pairs import load_sets, run_pairs
from anukul.probe.passes import gather, model_names, run_passes
from anukul.probe.pieces import FILE, check_pieces
from anukul.probe.prepare import Work, batches_of, prepare, table_of
from anukul.probe.results import FILES, Seen, write_results
from anukul.probe.treebank import Sentence, arcs_of, read_treebank
from anukul.rundir import Result, write_json


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
    sets = load_sets(settings.pairs, config.language)
    asked = asked_of(config, settings, sets)
    loaded = load_base(config.model)
    load_adapter(loaded, root / "train" / config.train.stages[-1].name / "adapter")
    outputs: list[str] = list(FILES)
    rows: dict[str, int] = {}
    if settings.case_study is not None:
        outputs.append("case.json")
        if not (folder / "case.json").exists():
            write_json(folder / "case.json", case.study(loaded, settings.case_study))
    selected, counts = _probe(config, settings, sentences, loaded, folder)
    rows |= counts
    if settings.mean_of_pieces:
        outputs.append(FILE)
    if sets:
        scored = run_pairs(loaded, sets, folder, config.seed)
        outputs += scored.outputs
        rows |= scored.rows
    if settings.knockout is not None:
        outputs += ["knockout.parquet", "knockout.json"]
        rows["silenced"] = knock_out(settings.knockout, loaded, selected, asked, folder, config.seed)
    shutil.rmtree(folder / "parts", ignore_errors=True)
    return Result(outputs, rows)


def _probe(
    config: RunConfig, settings: ProbeSettings, sentences: Sequence[Sentence], loaded: Loaded, folder: Path
) -> tuple[dict[str, Any], dict[str, int]]:
    """Run every model over the treebank and write the tables of heads; return selected.json and counts."""
    work = prepare(sentences, loaded, settings.relations)
    table = table_of(work.items, config.seed)
    groups, rare = groups_of(table, settings.min_arcs, settings.relations)
    _say_rare(settings, groups, rare, work)
    batches = batches_of(work.items, settings.batch_sentences)
    names = model_names(settings.random_models)
    parts = folder / "parts"
    run_passes(loaded, work, batches, parts, names, config.seed)
    seen = {name: gather(work.items, batches, parts, name) for name in names}
    models = {name: scores for name, (scores, _) in seen.items()}
    sink = {name: values for name, (_, values) in seen.items()}
    whole = Seen(table, groups, rare, models, sink)
    selected, count = write_results(settings, folder, whole, work, config.seed)
    _say_found(selected)
    if settings.mean_of_pieces:
        checked = check_pieces(settings, loaded, work, batches, parts, whole, selected, config.seed)
        write_json(folder / FILE, checked)
    return selected, {"sentences": len(work.items), "arcs": len(table.arcs), "heads": count}


def _check_relations(settings: ProbeSettings, treebank: Path, sentences: Sequence[Sentence]) -> None:
    found = {arc.relation for sentence in sentences for arc in arcs_of(sentence)}
    wanted = {"relations": settings.relations}
    if settings.knockout is not None:
        wanted["knockout.relations"] = settings.knockout.relations
    for key, relations in wanted.items():
        missing = [relation for relation in relations if relation not in found]
        if missing:
            raise UserError(
                f"probe.{key}: {', '.join(missing)}: not in {treebank}; "
                f"it has {', '.join(sorted(found)) or 'none'}"
            )


def _say_rare(
    settings: ProbeSettings, groups: Sequence[Group], rare: Sequence[dict[str, Any]], work: Work
) -> None:
    if work.too_long:
        progress.say(f"  {work.too_long} sentences are longer than the model's window and left out")
    if work.unaligned:
        progress.say(f"  {work.unaligned} arcs left out: one of their words has no token of its own")
    if not groups:
        raise UserError(
            f"probe.min_arcs: no relation has {settings.min_arcs} arcs in one direction in "
            f"{resolve(settings.treebank)}; lower it or give a larger treebank"
        )
    if rare:
        most = sorted(rare, key=lambda item: -int(item["n"]))[:6]
        shown = ", ".join(f"{item['relation']}/{item['direction']} ({item['n']} arcs)" for item in most)
        more = f" and {len(rare) - len(most)} more, all in selected.json" if len(rare) > len(most) else ""
        progress.say(f"  too rare to score: {shown}{more}")


def _say_found(selected: dict[str, Any]) -> None:
    tree, heads, changed = selected["tree"], selected["resolvers"], selected["changed"]
    progress.say(
        f"  of all {tree['arcs']:,} arcs the best head of each relation finds {tree['base']['value']:.1%} in the base, "
        f"{tree['adapted']['value']:.1%} in the adapted model; the best fixed offset {tree['offset']['value']:.1%}"
    )
    progress.say(
        f"  heads that know a relation: {len(heads['base'])} in the base, {len(heads['adapted'])} in the adapted "
        f"model; {changed['gained_count']} gained and {changed['lost_count']} lost on a relation"
    )
