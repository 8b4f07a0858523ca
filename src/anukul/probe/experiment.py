"""The knock-out from the heads that were found to its two files: what is silenced, scored and written."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from anukul import progress
from anukul.config import KnockoutSettings, ProbeSettings, RunConfig
from anukul.errors import UserError
from anukul.items.lines import load_held_out
from anukul.model.loaded import Loaded
from anukul.probe import resample
from anukul.probe.harm import knockout_summary
from anukul.probe.heads import Head
from anukul.probe.knockout import Asked, run_trials, spread_pairs
from anukul.probe.pairs import PairSet
from anukul.probe.sets import choose_heads, random_sets, trials_of
from anukul.records import Silenced, write_rows
from anukul.rundir import write_json


def asked_of(config: RunConfig, settings: ProbeSettings, sets: Sequence[PairSet]) -> Asked:
    """What the knock-out scores: pairs of the probe's language, spread over phenomena, and held-out lines."""
    if settings.knockout is None:
        return Asked([], [])
    # frames of two sets are different frames, also where they are called the same
    pairs = [
        replace(pair, cluster=f"{held.name}:{pair.cluster}")
        for held in sets
        for pair in held.pairs
        if pair.language == settings.language
    ]
    texts = [line for text in settings.held_out(config.evaluate) for _, line in load_held_out(text)]
    if not pairs and not texts:
        raise UserError(
            f"probe.knockout: nothing to score in {settings.language}: give probe.pairs in this language, or "
            "probe.knockout.held_out"
        )
    places = np.linspace(0, len(texts) - 1, min(len(texts), settings.knockout.texts)).round()
    lines = [texts[int(place)] for place in places]
    return Asked(spread_pairs(pairs, settings.knockout.pairs), lines)


def knock_out(
    settings: KnockoutSettings,
    loaded: Loaded,
    selected: dict[str, Any],
    asked: Asked,
    folder: Path,
    seed: int,
) -> int:
    """Silence the heads that know a relation in the adapted model, and sets like them; write the two files."""
    found = _found(settings, selected)
    width = len(selected["sink"]["adapted"][0])
    heads = choose_heads([_head(item) for item in found], width, settings.max_heads)
    about: dict[str, Any] = {
        "heads": [item for item in found if _head(item) in heads],
        "left_out": [item for item in found if _head(item) not in heads],
    }
    rows: list[Silenced] = []
    if heads:
        random = random_sets(heads, width, settings.sets, resample.generator(seed, "random sets"))
        trials = trials_of(heads, width, settings.other_heads, random, seed)
        outcomes = run_trials(loaded, settings, asked, trials, folder / "parts")
        summary, rows = knockout_summary(settings, outcomes, asked, trials, random, seed)
        about |= summary
        if len(random.sets) < settings.sets:
            progress.say(
                f"  knock-out: only {random.distinct} other sets of as many heads of the same layers exist; no p can "
                f"be below {random.smallest_p:.3f}"
            )
    else:
        progress.say(
            "  knock-out: no head of the adapted model knows a relation, so there is none to silence"
        )
    write_rows(folder / "knockout.parquet", rows, Silenced)
    write_json(folder / "knockout.json", about)
    return len(rows)


def _head(item: dict[str, Any]) -> Head:
    return int(item["layer"]), int(item["head"])


def _found(settings: KnockoutSettings, selected: dict[str, Any]) -> list[dict[str, Any]]:
    """The heads of the adapted model that know one of the relations asked for, the largest lead first."""
    found: list[dict[str, Any]] = selected["resolvers"]["adapted"]
    wanted = settings.relations
    return [
        item
        for item in found
        if not wanted or any(name.rpartition("/")[0] in wanted for name in item["relations"])
    ]
