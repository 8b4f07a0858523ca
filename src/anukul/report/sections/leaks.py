"""The data part on contamination: which evaluation items stood in which text, on which side, and what fell for it."""

from anukul.contamination.tally import in_order
from anukul.report.blocks import Block, Cell, Fold, Prose, Table, numeric, text
from anukul.report.data import RunData
from anukul.report.format import count, listing, plural
from anukul.report.loadleaks import Contamination, Leak, items_of, merged, touched_of

SAMPLES = 3  # of each set and step
HOW = {"exact": "word for word", "sentence": "as a line or sentence"}
RUNS = 100  # of ids of one set that are listed

ROWS = {"corpus": ("document", "documents"), "synth": ("pair or instruction", "pairs and instructions")}
READ = {"corpus": "the documents", "synth": "pairs, translations and instructions"}
WHOLE = {
    "corpus": "documents",
    "replay": "replay documents",
    "synth": "pairs, translations or instructions",
}
PARTS = {"instruction": "question", "input": "input", "output": "answer", "turns": "later turns"}


def answer(found: tuple[Contamination, ...], data: RunData) -> tuple[str, str, str]:
    """Return verdict, words and source of the question whether the text holds the tests."""
    source = ", ".join(f"{one.step}/contamination.json" for one in found) or "corpus/contamination.json"
    unread = unlooked(found, data)
    if not found:
        return "not measured", "Nobody looked: scores may be remembered answers.", source
    items = items_of(found)
    if not items:
        return "not measured", "The run evaluates on no text that could be looked for.", source
    touched = touched_of(found)
    fallen = [plural(one.dropped, *ROWS[one.step]) for one in found if one.dropped]
    sets = len({leak.name for one in found for leak in one.sets})
    of = f"of the {count(items)} that this run evaluates on, in {plural(sets, 'set')}"
    where = listing([READ[one.step] for one in found])
    said = (
        f"{listing(fallen)} dropped for holding {plural(touched, 'item')} {of}."
        if fallen
        else f"No item {of}, was found in {where}."
    )
    if unread:
        said += f" Nobody looked into {listing([READ[step] for step in unread])}."
    return "not measured" if unread else "look" if touched else "fine", said, source


def unlooked(found: tuple[Contamination, ...], data: RunData) -> list[str]:
    """Return the steps that ran and wrote rows, and did not look."""
    looked = {one.step for one in found}
    return [step for step in READ if data.steps[step].done and step not in looked]


def blocks_of(found: tuple[Contamination, ...], data: RunData) -> list[Block]:
    """Return the sets of which something was found, then, folded, the items, the rows, and the sets without."""
    held: dict[str, list[Leak]] = {}
    for one in found:
        for leak in one.sets:
            held.setdefault(leak.name, []).append(leak)
    touched = {name: leaks for name, leaks in held.items() if any(leak.touched for leak in leaks)}
    source = ", ".join(f"{one.step}/contamination.json" for one in found)
    blocks: list[Block] = []
    if touched:
        ordered = sorted(touched.items(), key=lambda item: (-sum(leak.dropped for leak in item[1]), item[0]))
        rows = tuple(_row(name, leaks, data) for name, leaks in ordered)
        head = ("Evaluation set", "Items found", "Rows dropped", "Where the items stood, by rows")
        blocks.append(Table("Contamination: test items that stood in the text", head, rows, source))
        blocks.append(Prose(method(found[0]), "term"))
        if any(leak.ids for leaks in touched.values() for leak in leaks):
            blocks.append(Fold("The items found, by their ids", (ids_table(ordered),)))
        blocks.append(Fold("Rows that held them, the least alike first", (samples_table(ordered, data),)))
    clean = {name: leaks[0] for name, leaks in held.items() if name not in touched}
    if clean:
        listed = tuple(
            (text(name, leak.where), numeric(count(leak.items), f"{leak.where}.items"))
            for name, leak in sorted(clean.items())
        )
        title = f"{plural(len(clean), 'set')} of which no item was found"
        blocks.append(Fold(title, (Table("Looked for, and not found", ("Evaluation set", "Items"), listed),)))
    return blocks


def method(found: Contamination) -> str:
    """Say when a text holds an item."""
    told = found.method
    if not {"ngram", "share", "min_words"} <= told.keys():
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())
    return (
        "A text holds an item where it is the item, case and punctuation aside, or where a line or sentence of it is "
        f"an item too short for the following; or where runs of "
        f"{told['ngram']} words that both have cover {100 * float(told['share']):g} % of the item's words, and "
        f"{told['min_words']} words at least. A row that holds one, on whichever side, is dropped whole."
    )


def _row(name: str, leaks: list[Leak], data: RunData) -> tuple[Cell, ...]:
    found = [leak for leak in leaks if leak.touched]
    where = "; ".join(leak.where for leak in found)
    sides = [
        f"{side_of(side, data)} {count(rows)}"
        for leak in found
        for side, rows in (leak.sides or {leak.step: leak.dropped}).items()
    ]
    exact = sum(leak.exact for leak in found)
    items = max(leak.items for leak in found)
    return (
        text(name, where),
        numeric(count(merged(leaks)), f"{where}: items_touched", f"of {count(items)}"),
        numeric(
            count(sum(leak.dropped for leak in found)),
            f"{where}: rows_dropped",
            f"{count(exact)} word for word" if exact else "",
        ),
        text("; ".join(sides), f"{where}: sides"),
    )


def side_of(name: str, data: RunData) -> str:
    """Return a side of a row in words: pairs, the side in the base language."""
    if name in WHOLE:
        return WHOLE[name]
    kind, _, side = name.partition(".")
    languages = {"source": data.config.base_language, "target": data.config.language}
    if side in languages:
        return f"{kind}, {data.language(languages[side])} side"
    return f"{kind}, {PARTS.get(side, side)}"


def ids_table(sets: list[tuple[str, list[Leak]]]) -> Table:
    """Return which items were found, by set."""
    rows = []
    for name, leaks in sets:
        runs = ranges(sorted({one for leak in leaks for one in leak.ids}, key=in_order))
        if runs:
            more = len(runs) - RUNS
            rest = f" … and {count(more)} more" if more > 0 else ""
            where = "; ".join(f"{leak.where}.touched" for leak in leaks)
            rows.append((text(name, where), Cell(", ".join(runs[:RUNS]) + rest, "sample", where)))
    return Table("Items, by the ids that the set gives them", ("Set", "Items"), tuple(rows))


def ranges(ids: list[str]) -> list[str]:
    """Return ids as they are read: whole numbers that follow each other as `first to last`."""
    found: list[list[str]] = []
    for one in ids:
        last = found[-1][-1] if found else ""
        if one.isdecimal() and last.isdecimal() and int(one) == int(last) + 1:
            found[-1].append(one)
        else:
            found.append([one])
    return [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in found]


def samples_table(sets: list[tuple[str, list[Leak]]], data: RunData) -> Table:
    """Return some dropped rows of each set beside the item that each holds: the least alike may hold none."""
    rows = []
    shown: set[tuple[str, str]] = set()  # the same row and item in another set says nothing new
    for name, leaks in sets:
        found = [(leak, one) for leak in leaks for one in leak.samples]
        found.sort(key=lambda pair: float(pair[1].get("share") or 0))
        left = SAMPLES
        for leak, one in found:
            key = str(one.get("text", "")), str(one.get("item_text", ""))
            if key in shown or left == 0:
                continue
            shown.add(key)
            left -= 1
            how = HOW.get(str(one.get("how"))) or f"{float(one.get('share') or 0):.0%} of it"
            side = side_of(str(one.get("side") or leak.step), data)
            note = f"{side} · {one.get('source', '')} · row {one.get('row', '')}"
            rows.append(
                (
                    text(name, leak.where, f"item {one.get('item', '?')}, {how}"),
                    Cell(key[1], "sample", leak.where),
                    Cell(key[0], "sample", leak.where, note=note),
                )
            )
    return Table("Items, and the rows that held them", ("Set", "Item", "Row, its beginning"), tuple(rows))
