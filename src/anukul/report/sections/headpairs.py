"""Agreement minimal pairs: what base and adapted prefer, by phenomenon, distance and attractor."""

from collections.abc import Sequence

from anukul.report.blocks import Block, Fold, Prose, Table, numeric, text
from anukul.report.format import count, interval, p_value, percent, plural
from anukul.report.probedata import PairRow, Pairs
from anukul.report.tables import adjusted, domain, drawn, verdict_cell
from anukul.report.verdicts import doubt, verdict_of

LEAD = (
    "A minimal pair is two sentences that differ in one word, of which one can be said and the other cannot. A model "
    "is right where it gives the first the higher probability; guessing is right in half of the pairs. Distance counts "
    "the words between the word that demands a form and the word that has it; an attractor is a word between them that "
    "would demand the other form."
)


def pairs_blocks(pairs: Pairs) -> list[Block]:
    """Return the table by phenomenon, and behind a line the rows by distance and attractor."""
    whole = [row for row in pairs.rows if row.whole]
    blocks: list[Block] = [Prose(LEAD, "term")]
    if whole:
        blocks.append(_table("Agreement minimal pairs", whole, pairs))
        chance = [row for row in whole if row.phenomenon and row.adapted.holds(pairs.chance)]
        if chance:
            names = ", ".join(row.phenomenon for row in chance)
            blocks.append(Prose(f"The adapted model cannot be told from guessing on: {names}.", "note"))
    cuts: list[Block] = []
    for name, rows in (
        ("by distance", [row for row in pairs.rows if row.distance is not None]),
        ("with and without an attractor", [row for row in pairs.rows if row.attractor is not None]),
    ):
        if rows:
            cuts.append(_table(f"Minimal pairs {name}", rows, pairs, tested=False))
    if cuts:
        blocks.append(Fold("By distance and attractor", tuple(cuts)))
    return blocks


def _table(caption: str, rows: Sequence[PairRow], pairs: Pairs, tested: bool = True) -> Table:
    axis = domain([row.difference for row in rows])
    several = len({row.set for row in pairs.rows}) > 1
    cells = []
    for row in rows:
        word = verdict_of(row.difference)
        shown = interval(row.difference, True, signed=True)
        named = row.phenomenon or ("every pair of the set" if several else "every pair")
        part = "" if row.distance is None else plural(row.distance, "word") + " between"
        if row.attractor is not None:
            part = "with an attractor" if row.attractor else "without an attractor"
        note = " · ".join(piece for piece in (row.set if several else "", part) if piece)
        moved = f"{count(row.gained)} won, {count(row.lost)} lost"
        warning = doubt(word, row.q)
        cells.append(
            (
                text(named, row.where, note),
                numeric(count(row.n), f"{row.where}.n", _frames(row)),
                numeric(interval(row.base, True), f"{row.where}.base", _chance(row.base.holds(pairs.chance))),
                numeric(
                    interval(row.adapted, True),
                    f"{row.where}.adapted",
                    _chance(row.adapted.holds(pairs.chance)),
                ),
                drawn(shown, f"{row.where}.difference", row.difference, axis, word, "points"),
                verdict_cell(word, f"{row.where}.difference", " · ".join(p for p in (moved, warning) if p)),
                *([numeric(p_value(row.q), f"{row.where}.q")] if tested else []),
            )
        )
    head = ("Pairs", "n", "Base", "Adapted", "Adapted − base", "Verdict", *(["q"] if tested else []))
    family = adjusted("minimal pairs", pairs.comparisons, pairs.family)
    if not tested:
        family = "These rows describe and are not tested"
    guess = f"guessing: {percent(pairs.chance)}"
    return Table(caption, head, tuple(cells), f"probe/pairs.json, {guess}. {family}")


def _frames(row: PairRow) -> str:
    return "" if row.clusters == row.n else f"in {plural(row.clusters, 'frame')}"


def _chance(holds: bool) -> str:
    return "at chance" if holds else ""
