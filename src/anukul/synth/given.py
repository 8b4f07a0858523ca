"""Given rows, shard by shard: parallel text and instructions."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from anukul.config import InstructionInput, PairInput
from anukul.contamination import Tally
from anukul.progress import Bar
from anukul.records import Dropped, Instruction, Pair
from anukul.synth.instruct import make_instructions
from anukul.synth.instructions import RawInstruction, read_instructions
from anukul.synth.pairs import RawPair, read_pairs
from anukul.synth.samples import shown
from anukul.synth.state import SHOWN, Reason, Synth, count
from anukul.tables import chunks
from anukul.text.keys import hash_key
from anukul.text.normalize import normalize

Raw = TypeVar("Raw")


def add_pairs(synth: Synth, index: int, item: PairInput, size: int, progress: Bar) -> list[dict[str, Any]]:
    """Read and judge one input of pairs in shards of `size` rows; return the counts of its shards."""

    def write(chunk: list[RawPair], name: str) -> None:
        _write_pairs(synth, index, item, chunk, name)

    return _add(synth, "pairs", index, chunks(read_pairs(item), size), write, item.name, progress)


def add_instructions(
    synth: Synth, index: int, item: InstructionInput, size: int, progress: Bar
) -> list[dict[str, Any]]:
    """Read and judge one input of instructions in shards of `size` rows; return the counts of its shards."""

    def write(chunk: list[RawInstruction], name: str) -> None:
        _write_instructions(synth, index, item, chunk, name)

    return _add(
        synth, "instructions", index, chunks(read_instructions(item), size), write, item.source, progress
    )


def _add(
    synth: Synth,
    kind: str,
    index: int,
    shards_of_rows: Iterable[list[Raw]],
    write: Callable[[list[Raw], str], None],
    said: str,
    progress: Bar,
) -> list[dict[str, Any]]:
    """Write the shards of one input that do not stand, take in those that do; return the counts of all."""
    shards = synth.shards[kind]
    stats: list[dict[str, Any]] = []
    for place, chunk in enumerate(shards_of_rows):
        name = f"{index:04d}-{place:06d}"
        if shards.has(name):
            synth.recall(kind, name)
        else:
            write(chunk, name)
        stats.append(shards.stats(name))
        progress.advance(len(chunk), said)
    return stats


def _write_pairs(synth: Synth, index: int, item: PairInput, chunk: list[RawPair], name: str) -> None:
    sides: list[tuple[str, str]] = []
    reasons: list[Reason | None] = []
    for raw in chunk:
        source, target = raw.source, raw.target
        reason: Reason | None = (raw.rule, raw.detail)
        if not raw.rule:
            source, target = normalize(source, synth.base)[0], normalize(target, synth.target)[0]
            reason = synth.judge(source, target)
        sides.append((source, target))
        reasons.append(reason)
    tally = Tally()
    left = [place for place, reason in enumerate(reasons) if reason is None]
    asked = [(f"{index}:{chunk[place].number}", item.name, sides[place]) for place in left]
    for place, reason in zip(left, synth.contaminated(tally, asked), strict=True):
        reasons[place] = reason
    left = [place for place in left if reasons[place] is None]
    weighed = dict(zip(left, synth.costly.weigh([sides[place] for place in left]), strict=True))
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
            document_id=synth.document_ids.get(hash_key(target), ""),
            source_text=source,
            target_text=target,
            source_language=synth.base.code,
            target_language=synth.target.code,
            source_origin=item.origin,
            translator="",
            source=item.name,
            license=item.license,
            score=weight.score if weight else None,
            round_trip=weight.round_trip if weight else None,
        )
        synth.take(pair)
        pairs.append(pair)
    linked = sum(bool(pair.document_id) for pair in pairs)
    stats = count(len(chunk), len(pairs), linked, dropped, tally)
    synth.shards["pairs"].write(name, {"pairs": pairs, "dropped": dropped}, stats)


def _write_instructions(
    synth: Synth, index: int, item: InstructionInput, chunk: list[RawInstruction], name: str
) -> None:
    translator = synth.instruction_translator(index, item)
    made = make_instructions(chunk, item, index, synth.target, synth.base, synth.instruction_keys, translator)
    tally = Tally()
    asked = [(row.id, row.source, (row.instruction, row.input, row.output, *row.turns)) for row in made.kept]
    kept: list[Instruction] = []
    for row, (*_, texts), reason in zip(made.kept, asked, synth.contaminated(tally, asked), strict=True):
        if reason:
            made.dropped.append(Dropped(row.id, row.source, *reason, "\n".join(texts)[:SHOWN]))
        else:
            kept.append(row)
    stats = count(len(chunk), len(kept), 0, made.dropped, tally)
    synth.shards["instructions"].write(name, {"instructions": kept, "dropped": made.dropped}, stats)
