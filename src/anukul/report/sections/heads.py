"""Heads: heatmaps, best heads against every control, the tree, minimal pairs, the knock-out, case studies."""

from anukul.report.blocks import Block, Fold, Prose, Section
from anukul.report.data import RunData
from anukul.report.format import count, interval, listing, percent, plural
from anukul.report.probedata import MODELS, Pieces, Probe
from anukul.report.sections.headcase import cases_blocks
from anukul.report.sections.headmaps import explorer
from anukul.report.sections.headpairs import pairs_blocks
from anukul.report.sections.headtables import (
    changed_blocks,
    crossed_table,
    halves_table,
    knowers_blocks,
    tree_blocks,
    undirected_table,
)
from anukul.report.sections.knockout import knockout_blocks

LEAD = (
    "An attention head is a small part of a layer that decides which earlier words a word looks at. For each relation "
    "of grammar, such as that of a verb to its subject, how often does a head look hardest at the right word?"
)
METHOD = (
    "A decoder sees only backwards, so a relation is scored from its later word. The first token and the word itself "
    "are left out. Heads are chosen on one half of the sentences and judged on the other. The "
    "fixed offset is the best rule of the kind “always look k words back”: a head that does not beat it may know "
    "position only, not grammar. The sink is the attention that lies on the first token, where heads rest. "
    "“Moved” means that another head does the work now, and no better or worse."
)


def section(data: RunData) -> Section:
    """Return the section."""
    probe = data.probe
    blocks: list[Block] = []
    if probe is None:
        blocks.append(Prose("The step 'probe' was not run in this run folder.", "note"))
    else:
        blocks.append(Prose(METHOD, "term"))
        if probe.findings:
            blocks += _found(probe)
        else:
            blocks.append(Prose("No relation had enough arcs to be scored.", "note"))
        if probe.rare:
            blocks.append(Prose(f"Too rare to be scored: {'; '.join(probe.rare)}.", "note"))
        if probe.pairs:
            blocks.append(Prose("Does the model prefer the right form?", "heading"))
            blocks += pairs_blocks(probe.pairs)
        if probe.knockout:
            blocks.append(Prose("Does the model need these heads?", "heading"))
            blocks += knockout_blocks(probe.knockout)
    cases = cases_blocks(data)
    if cases:
        blocks += [Prose("One sentence", "heading"), *cases]
    return Section("heads", "Heads", LEAD, tuple(blocks))


def _found(probe: Probe) -> list[Block]:
    blocks: list[Block] = [explorer(probe)]
    if not all(finding.adapted.crossed and finding.base.crossed for finding in probe.findings):
        return [*blocks, halves_table(probe), _sink(probe)]
    blocks += [crossed_table(probe), *knowers_blocks(probe), *changed_blocks(probe)]
    if probe.tree:
        blocks += tree_blocks(probe.tree)
    if probe.pieces:
        blocks.append(Prose(pieces_line(probe.pieces), "note"))
    blocks.append(_sink(probe))
    folded: list[Block] = [halves_table(probe)]
    if probe.undirected:
        folded.append(undirected_table(probe))
    blocks.append(Fold("Best heads of one half on the other, and both directions pooled", tuple(folded)))
    return blocks


def pieces_line(pieces: Pieces) -> str:
    """Return whether the findings depend on reading a word at its last piece."""
    changes = [
        f"{model} {interval(last, True)} at the last piece, {interval(mean, True)} as the mean"
        for model, (last, mean) in pieces.tree.items()
    ]
    said = (
        f"Of {count(pieces.words)} attending words {count(pieces.split)} are several pieces of the tokenizer; they are "
        "read at the last piece. With the mean over their pieces instead, the best heads find as share of all arcs: "
        f"{'; '.join(changes)}. "
    )
    told = []
    for model in MODELS:
        last, mean = (set(names) for names in pieces.knowers[model])
        same, gone, new = len(last & mean), sorted(last - mean), sorted(mean - last)
        parts = [f"{plural(same, 'head')} know{'s' if same == 1 else ''} a relation either way"]
        parts += [f"{listing(gone)} only at the last piece"] if gone else []
        parts += [f"{listing(new)} only as the mean"] if new else []
        told.append(f"in the {'adapted model' if model == 'adapted' else model} {', '.join(parts)}")
    end = (
        "The conclusion holds." if pieces.holds else "The conclusion depends on how pieces are put together."
    )
    both = "; ".join(told)
    return f"{said}{both[0].upper()}{both[1:]}. {end}"


def _sink(probe: Probe) -> Prose:
    used = count(probe.sentences.get("scored") or probe.sentences.get("report"))
    random = probe.sinks.get("random")
    more = f" (random weights: {percent(random)})" if random is not None else ""
    return Prose(
        f"On average over all heads {percent(probe.sinks.get('base'))} of the attention of the base, and "
        f"{percent(probe.sinks.get('adapted'))} of that of the adapted model, lies on the first token{more} "
        f"(probe/selected.json: sink). {used} sentences of {probe.treebank} were read.",
        "note",
    )
