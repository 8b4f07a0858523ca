"""From sentences to what can be run: tokens that fit the window, and arcs whose two words can be seen in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anukul.model.loaded import Loaded
from anukul.probe import heads
from anukul.probe.align import align
from anukul.probe.observe import Prepared
from anukul.probe.treebank import Arc, Sentence, arcs_of


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


def table_of(items: Sequence[Prepared], seed: int) -> heads.ArcTable:
    """Return the arcs of all sentences in their order, each with its sentence and half."""
    arcs: list[Arc] = []
    sentence: list[int] = []
    half: list[int] = []
    for number, item in enumerate(items):
        arcs += item.arcs
        sentence += [number] * len(item.arcs)
        half += [heads.HALVES.index(heads.half_of(seed, item.aligned.sentence.id))] * len(item.arcs)
    return heads.ArcTable(tuple(arcs), np.array(sentence, dtype=np.int64), np.array(half, dtype=np.int64))


def batches_of(items: Sequence[Prepared], size: int) -> list[list[int]]:
    """Return the items' numbers in batches of like length, so that little is padding."""
    order = sorted(range(len(items)), key=lambda number: (len(items[number].aligned.ids), number))
    return [order[start : start + size] for start in range(0, len(order), size)]
