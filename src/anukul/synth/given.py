"""Given rows, shard by shard: parallel text and instructions."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeVar

from anukul.config import InstructionInput, PairInput
from anukul.contamination import Tally
from anukul.progress import Bar
from anukul.records import Dropped, Pair
from anukul.synth.instruct import Work, make_instructions
from anukul.synth.instructions import RawInstruction, read_instructions
from anukul.synth.pairs import RawPair, made_by, read_pairs
from anukul.synth.samples import shown
from anukul.synth.sources import Files
from anukul.synth.state import Reason, Synth, count, instruction_key, teller, within_budget
from anukul.tables import chunks
from anukul.text.keys import hash_key

Raw = TypeVar("Raw")
Stats = list[dict[str, Any]]


def add_pairs(synth: Synth, index: int, item: PairInput, files: Files, size: int, progress: Bar) -> Stats:
    """Read and judge one input of pairs in shards of `size` rows; return the counts of its shards."""

    def write(chunk: list[RawPair], name: str) -> None:
        _write_pairs(synth, index, item, chunk, name)

    rows = chunks(read_pairs(item, files), size)
    return list(_add(synth, "pairs", index, rows, write, item.name, progress))


def add_instructions(
    synth: Synth, index: int, item: InstructionInput, files: Files, size: int, progress: Bar
) -> Stats:
    """Read and judge one input of instructions in shards of `size` rows; return the counts of its shards.

    Raises UserError where more translations fail than `translate.max_failed` allows.
    """

    work = Work(item, index, synth.target, synth.base, synth.instruction_keys, masks=synth.masks)
    told = teller(progress)

    def write(chunk: list[RawInstruction], name: str) -> None:
        tally, before = Tally(), work.sent
        work.translator = synth.instruction_translator(index, item, told)
        work.contaminated = partial(synth.contaminated, tally)
        made = make_instructions(chunk, work)
        counted = count(len(chunk), len(made.kept), 0, made.dropped, tally) | {"sent": work.sent - before}
        tables: dict[str, list[Any]] = {"instructions": made.kept, "dropped": made.dropped}
        synth.shards["instructions"].write(name, tables, counted)

    rows = chunks(read_instructions(item, files), size)
    said = None if item.translate else item.source
    stats: Stats = []
    dropped: Counter[str] = Counter()
    sent = 0  # by an earlier process too
    for counted in _add(synth, "instructions", index, rows, write, said, progress):
        stats.append(counted)
        dropped.update(counted["dropped"])
        sent += counted["sent"]
        work.sent = sent
        if item.translate is not None:
            within_budget(instruction_key(index), item.translate, dropped, files.expected)
    return stats


def _add(
    synth: Synth,
    kind: str,
    index: int,
    shards_of_rows: Iterable[list[Raw]],
    write: Callable[[list[Raw], str], None],
    said: str | None,
    progress: Bar,
) -> Iterator[dict[str, Any]]:
    """Write the shards of one input that do not stand, take in those that do; yield the counts of each."""
    shards = synth.shards[kind]
    for place, chunk in enumerate(shards_of_rows):
        name = f"{index:04d}-{place:06d}"
        if shards.has(name):
            synth.recall(kind, name)
            progress.skip(len(chunk))
        else:
            write(chunk, name)
            progress.advance(len(chunk), said)
        yield shards.stats(name)


def _write_pairs(synth: Synth, index: int, item: PairInput, chunk: list[RawPair], name: str) -> None:
    sides: list[tuple[str, str]] = []
    touched: list[list[str]] = []
    reasons: list[Reason | None] = []
    for raw in chunk:
        source, target = raw.source, raw.target
        reason: Reason | None = (raw.rule, raw.detail)
        rules: set[str] = set()
        if not raw.rule:
            source, ours = synth.cleaned(source, synth.base)
            target, theirs = synth.cleaned(target, synth.target)
            rules = {*ours, *theirs}
            reason = synth.judge(source, target)
        sides.append((source, target))
        touched.append(sorted(rules))
        reasons.append(reason)
    tally = Tally()
    left = [place for place, reason in enumerate(reasons) if reason is None]
    names = ("pairs.source", "pairs.target")
    asked = [
        (f"{index}:{chunk[place].number}", item.name, tuple(zip(names, sides[place], strict=True)))
        for place in left
    ]
    for place, reason in zip(left, synth.contaminated(tally, asked), strict=True):
        reasons[place] = reason
    left = [place for place in left if reasons[place] is None]
    weighed = dict(zip(left, synth.costly.weigh([sides[place] for place in left]), strict=True))
    by = made_by(item)
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    for place, (raw, (source, target)) in enumerate(zip(chunk, sides, strict=True)):
        identity = f"{index}:{raw.number}"
        weight = weighed.get(place)
        reason = (
            reasons[place]
            or (weight.reason if weight else None)
            or synth.repeated(source, target, item.origin)
        )
        if reason:
            dropped.append(Dropped(identity, item.name, *reason, shown(source, target)))
            continue
        pair = Pair(
            id=identity,
            document_id=synth.document_ids.get(hash_key(target)),
            source_text=source,
            target_text=target,
            source_language=synth.base.code,
            target_language=synth.target.code,
            source_origin=item.origin,
            translator=by.translator,
            source=item.name,
            license=by.rows,
            translator_license=by.license,
            score=weight.score if weight else None,
            round_trip=weight.round_trip if weight else None,
            rules=touched[place],
        )
        synth.take(pair)
        pairs.append(pair)
    linked = sum(bool(pair.document_id) for pair in pairs)
    stats = count(len(chunk), len(pairs), linked, dropped, tally)
    synth.shards["pairs"].write(name, {"pairs": pairs, "dropped": dropped}, stats)
