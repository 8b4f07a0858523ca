"""The knock-out: what agreement and held-out text lose without the heads that were found, against random sets."""

from collections.abc import Sequence

from anukul.report.blocks import Block, Cell, Figure, Fold, Grid, Prose, Table, numeric, text
from anukul.report.format import count, interval, listing, number, p_value, percent, plural
from anukul.report.probedata import MODELS, Effect, Effects, Knockout
from anukul.report.strips import Strip, strip_chart
from anukul.report.tables import domain, drawn
from anukul.report.verdicts import DISCOVERY_RATE, harm_verdict

WAYS = {"uniform": "look at all words alike", "zero": "say nothing", "mean": "say what they say on average"}
LEAD = (
    "That a head looks at the right word does not show that the model uses it. So the heads that know a relation in "
    "the adapted model are silenced together, and agreement pairs and held-out text are scored again: the heads look "
    "at all words alike (uniform), say nothing (zero), or say what they say on average (mean). Any heads that are "
    "silenced do some harm; what counts is whether these do more than as many other heads of the same layers."
)
CSS = {
    "more than random": "worse",
    "no more than random": "at-chance",
    "no detectable harm": "no-detectable-change",
}


def knockout_blocks(found: Knockout) -> list[Block]:
    """Return what was silenced, what it did against random sets, and what this says."""
    if not found.heads:
        return [
            Prose(LEAD, "term"),
            Prose("No head of the adapted model knows a relation, so there was none to silence.", "note"),
        ]
    blocks: list[Block] = [Prose(LEAD, "term"), Prose(_silenced(found)), Prose(conclusion(found))]
    figures = [
        figure
        for measure, title, share in (
            ("accuracy", "Drop in agreement accuracy, points", True),
            ("bits_per_byte", "Rise in bits per byte of held-out text", False),
        )
        if (figure := _strips(found, measure, title, share))
    ]
    if figures:
        blocks.append(Grid(tuple(figures)))
    for measure, caption in (
        ("accuracy", "Agreement accuracy without these heads"),
        ("bits_per_byte", "Held-out text without these heads, bits per byte"),
    ):
        if any(measure in effects.whole for effects in found.effects):
            blocks.append(_table(caption, measure, found))
    blocks += _notes(found)
    folds = [*_phenomena(found), *_singles(found)]
    if folds:
        blocks.append(Fold("By phenomenon, and each head by itself", tuple(folds)))
    return blocks


def _silenced(found: Knockout) -> str:
    heads = listing([f"{head.name} ({', '.join(head.relations)})" for head in found.heads])
    left = (
        f"; {plural(found.left_out, 'more head')} that know{'s' if found.left_out == 1 else ''} one were left out, so "
        "that every layer keeps heads to compare with"
        if found.left_out
        else ""
    )
    scored = [
        *([f"{count(found.pairs)} minimal pairs in {count(found.clusters)} frames"] if found.pairs else []),
        *([f"{count(found.texts)} held-out lines"] if found.texts else []),
    ]
    random = f"all {count(found.sets)} that exist" if found.exact else f"{count(found.sets)} drawn"
    apart = ", some of which hold some of the silenced heads" if found.overlap else ""
    return (
        f"Silenced: {heads}{left}. Scored: {listing(scored)}. Compared with other sets of as many heads of the same "
        f"layers, {random}{apart}."
    )


def conclusion(found: Knockout) -> str:
    """Return in one sentence or two whether these heads are missed more than random ones in the adapted model."""
    own = [
        (effects.how, harm_verdict(effects.whole["accuracy"]))
        for effects in found.effects
        if effects.model == "adapted" and "accuracy" in effects.whole
    ]
    if not own:
        return "Agreement was not scored, so only the text below can tell."
    more = [how for how, word in own if word == "more than random"]
    if found.smallest_p is not None and found.smallest_p > DISCOVERY_RATE:
        return (
            f"Only {plural(found.sets, 'other set')} of this kind exist{'s' if found.sets == 1 else ''}, so no p can "
            f"be below {p_value(found.smallest_p)}: whether these are missed more than others cannot be told here."
        )
    if len(more) == len(own):
        return "In the adapted model silencing them hurts agreement more than random sets do, in every way tried."
    if more:
        return (
            f"In the adapted model silencing them hurts agreement more than random sets do in {len(more)} of "
            f"{len(own)} ways ({', '.join(more)}) and not in the others: the evidence is mixed."
        )
    return (
        "In the adapted model silencing them does not hurt agreement more than silencing random heads of the same "
        "layers does. They look at the right words, but nothing here shows that agreement depends on them more than on "
        "others."
    )


def strips_of(found: Knockout, measure: str) -> list[Strip]:
    """Return one line for each way and model."""
    return [
        Strip(f"{model}, {effects.how}", model, effects.whole[measure].harm, effects.random.get(measure, ()))
        for model in reversed(MODELS)
        for effects in found.effects
        if effects.model == model and measure in effects.whole
    ]


def _strips(found: Knockout, measure: str, title: str, share: bool) -> Figure | None:
    strips = strips_of(found, measure)
    if not strips:
        return None
    drawing = strip_chart(strips, title, title, share)
    caption = "Farther right is more harm. Lines are intervals of the heads found."
    legend = (
        ("diamond", "the heads found"),
        ("other-set", "random sets of as many heads of the same layers"),
    )
    return Figure(title, drawing, caption, "probe/knockout.json, probe/knockout.parquet", legend)


def _table(caption: str, measure: str, found: Knockout) -> Table:
    share = measure == "accuracy"
    held = [(effects, effects.whole[measure]) for effects in found.effects if measure in effects.whole]
    held.sort(key=lambda item: -MODELS.index(item[0].model))
    axis = domain([effect.harm for _, effect in held])
    rows = tuple(
        (
            text(f"{effects.model}, {effects.how}", effect.where, WAYS.get(effects.how, "")),
            *effect_cells(effect, share, axis),
        )
        for effects, effect in held
    )
    lost = "Drop" if share else "Rise"
    head = ("Heads silenced", "Before → after", lost, "Random sets", "Rank p", "q", "Against random sets")
    source = (
        "probe/knockout.json: models. Rank p: share of sets, this one counted, that do at least as much harm; q: "
        "Benjamini–Hochberg over the family “knock-out” of every model, way and measure"
    )
    return Table(caption, head, rows, source)


def effect_cells(effect: Effect, share: bool, axis: tuple[float, float]) -> tuple[Cell, ...]:
    """Return before → after, harm, random sets, rank p, q and verdict."""
    word = harm_verdict(effect)
    show = percent if share else number
    shown = interval(effect.harm, share, signed=True)
    unit = "points" if share else "bits per byte"
    css = "worse" if word == "more than random" else "moved"
    mean, largest = (interval_of(value, share) for value in (effect.others_mean, effect.others_largest))
    return (
        numeric(f"{show(effect.before)} → {show(effect.after)}", effect.where),
        drawn(shown, effect.where, effect.harm, axis, css, unit),
        numeric(f"mean {mean}", effect.where, f"largest {largest} · {effect.others} sets"),
        numeric(
            p_value(effect.rank_p), f"{effect.where}.rank_p", f"{effect.others_at_least} as harmful or more"
        ),
        numeric(p_value(effect.rank_q), f"{effect.where}.rank_q"),
        Cell(word, "verdict", effect.where, css=CSS[word]),
    )


def interval_of(value: float | None, share: bool) -> str:
    """Return a signed difference: points, or bits per byte."""
    return number(None if value is None else (100 if share else 1) * value, signed=True)


def _notes(found: Knockout) -> list[Block]:
    notes = []
    for how, tested in found.differences.items():
        notes.append(f"{how}: {interval(tested.measure, True, signed=True)} points, p {p_value(tested.p)}")
    blocks: list[Block] = []
    if notes:
        said = (
            "By how much more agreement loses in the adapted model than in the base without the same heads: "
        )
        blocks.append(Prose(f"{said}{'; '.join(notes)} (probe/knockout.json: adapted_minus_base).", "note"))
    if found.untouched:
        whole = all(found.untouched.values())
        blocks.append(
            Prose(
                "Scored again at the end, both models give the same numbers to the bit: silencing left nothing behind."
                if whole
                else "Scored again at the end, a model gives the same numbers but for rounding (probe/knockout.json: "
                "untouched).",
                "note",
            )
        )
    if found.smallest_p is not None:
        blocks.append(
            Prose(
                f"With {plural(found.sets, 'random set')} no rank p can be below {p_value(found.smallest_p)}.",
                "note",
            )
        )
    return blocks


def _phenomena(found: Knockout) -> list[Block]:
    tables: list[Block] = []
    for effects in _adapted(found):
        if not effects.phenomena:
            continue
        axis = domain([effect.harm for _, effect in effects.phenomena])
        rows = tuple((text(name, effect.where), *_short(effect, axis)) for name, effect in effects.phenomena)
        head = ("Phenomenon", "Before → after", "Drop", "Random sets", "Rank p, by itself")
        caption = f"The adapted model’s agreement by phenomenon, {effects.how}"
        tables.append(
            Table(caption, head, rows, "probe/knockout.json: models.adapted.*.phenomena; not corrected")
        )
    return tables


def _singles(found: Knockout) -> list[Block]:
    tables: list[Block] = []
    for effects in _adapted(found):
        held = [
            (single.name, single.effects["accuracy"])
            for single in effects.singles
            if "accuracy" in single.effects
        ]
        if not held:
            continue
        axis = domain([effect.harm for _, effect in held])
        rows = tuple((text(name, effect.where), *_short(effect, axis)) for name, effect in held)
        head = ("Head", "Before → after", "Drop", "Other heads of its layer", "Rank p, by itself")
        caption = f"The adapted model’s agreement without one head, {effects.how}"
        tables.append(
            Table(caption, head, rows, "probe/knockout.json: models.adapted.*.singles; not corrected")
        )
    return tables


def _short(effect: Effect, axis: tuple[float, float]) -> Sequence[Cell]:
    return effect_cells(effect, True, axis)[:4]


def _adapted(found: Knockout) -> list[Effects]:
    return [effects for effects in found.effects if effects.model == "adapted"]
