"""Score a wave: its trees are walked side by side, a slice of nodes at a time, logits only where a target stands."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.model.trie_attention import Lane, State, Walk
from anukul.scoring.trie import Ints, Tree

LOGIT_ELEMENTS = {"cpu": 1 << 24, "cuda": 1 << 27}  # logits held at once: 32 MiB, 256 MiB in bf16
BLOCK_ELEMENTS = {"cpu": 1 << 19, "cuda": 1 << 27}  # turned to fp32 at once: 2 MiB stay in a core's cache


@dataclass(slots=True)
class _Walker:
    """Where the walk stands in one tree."""

    tree: Tree
    first: int  # number of the tree's first node in the wave
    order: Ints  # [targets], targets by their scored node
    by_node: Ints  # [targets], the scored node of each in that order
    last: Ints  # [depths], the newest node at each depth
    path: Ints  # ancestors of the next node, by depth
    room: int  # tokens of path and slice at most; 0 where the tree is one slice
    place: int = -1  # where its path stands among those of the wave
    at: int = 0


def score_wave(
    loaded: Loaded, trees: Sequence[Tree], slice_nodes: int
) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Return for each tree log-probability `[targets]` and whether the target is the arg-max `[targets]`."""
    found = [(np.empty(len(tree.targets)), np.empty(len(tree.targets), dtype=np.bool_)) for tree in trees]
    firsts = np.cumsum([0, *(tree.size for tree in trees)]).tolist()
    walkers = [_start(tree, first, slice_nodes) for tree, first in zip(trees, firsts, strict=False)]
    results = dict(zip((id(walker) for walker in walkers), found, strict=True))
    room = 0
    for walker in walkers:
        if walker.room:
            walker.place = room
            room += walker.room
    carried: dict[int, State] = {}
    while walkers:
        spans = [(walker.at, min(walker.at + slice_nodes, walker.tree.size)) for walker in walkers]
        walk = Walk(
            [_lane(walker, *span, loaded.device) for walker, span in zip(walkers, spans, strict=True)],
            carried,
            room,
        )
        parts = list(zip(walkers, spans, strict=True))
        ids = np.concatenate([walker.tree.tokens[a:b] for walker, (a, b) in parts])
        depths = np.concatenate([walker.tree.depths[a:b] for walker, (a, b) in parts])
        states = hidden_states(
            loaded,
            torch.from_numpy(ids)[None].to(loaded.device),
            torch.from_numpy(depths)[None].to(loaded.device),
            layout=walk,
        )[0]
        _score_slice(loaded, states, parts, results)
        for walker, (_, stop) in parts:
            walker.at = stop
        walkers = [walker for walker in walkers if walker.at < walker.tree.size]
    return found


def _start(tree: Tree, first: int, slice_nodes: int) -> _Walker:
    order = np.argsort(tree.scored, kind="stable")
    deepest = int(tree.depths.max()) + 1
    empty = np.zeros(0, dtype=np.int64)
    room = deepest + slice_nodes if tree.size > slice_nodes else 0
    last = np.zeros(deepest, dtype=np.int64)
    return _Walker(tree, first, order, tree.scored[order], last, empty, room)


def _lane(walker: _Walker, start: int, stop: int, device: torch.device) -> Lane:
    """The lane of a tree's nodes `start` to `stop`; the walker's path moves on to that of the next slice."""
    tree, path = walker.tree, walker.path
    depths = tree.depths[start:stop]
    walker.last[depths] = np.arange(
        start, stop
    )  # of equal depths the last assignment, the newest node, stays
    onward = walker.last[: tree.depths[stop]].copy() if stop < tree.size else path[:0]
    # an ancestor of an earlier slice stands in the path at its depth and stays; one of this slice stands behind it
    stays = int(np.searchsorted(onward, start))
    moves = len(path) + onward[stays:] - start
    walker.path = onward
    arrays = (
        walker.first + np.arange(start, stop),
        walker.first + tree.ends[start:stop],
        depths,
        walker.first + path,
        walker.first + tree.ends[path],
        moves,
    )
    tensors = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in arrays]
    nodes, ends, at, behind, behind_ends, moving = tensors
    return Lane(nodes, ends, at, behind, behind_ends, walker.place, stays, moving)


def _score_slice(
    loaded: Loaded,
    states: Tensor,
    parts: Sequence[tuple[_Walker, tuple[int, int]]],
    results: dict[int, tuple[NDArray[np.float64], NDArray[np.bool_]]],
) -> None:
    """Score the targets whose nodes stand in the slice; `states` is `[nodes, hidden]`, trees one after another."""
    rows: list[Ints] = []
    targets: list[Ints] = []
    which: list[tuple[_Walker, Ints]] = []
    offset = 0
    for walker, (start, stop) in parts:
        low, high = np.searchsorted(walker.by_node, [start, stop])
        chosen = walker.order[low:high]
        rows.append(walker.by_node[low:high] - start + offset)
        targets.append(walker.tree.targets[chosen])
        which.append((walker, chosen))
        offset += stop - start
    values, greedy = token_scores(loaded, states, np.concatenate(rows), np.concatenate(targets))
    done = 0
    for walker, chosen in which:
        into_values, into_greedy = results[id(walker)]
        into_values[chosen] = values[done : done + len(chosen)]
        into_greedy[chosen] = greedy[done : done + len(chosen)]
        done += len(chosen)


def token_scores(
    loaded: Loaded, states: Tensor, rows: Ints, targets: Ints
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return log-probability `[targets]` and whether the target is the arg-max `[targets]`, in fp32 per token.

    `states` is `[nodes, hidden]`, `rows` ascending; each node's logits are computed once, in chunks of bounded size.
    """
    device = loaded.device
    distinct, inverse = np.unique(rows, return_inverse=True)
    vocabulary = loaded.vocabulary_rows
    chunk = max(1, LOGIT_ELEMENTS.get(device.type, 1 << 22) // vocabulary)
    block = max(1, BLOCK_ELEMENTS.get(device.type, 1 << 20) // vocabulary)
    values = np.empty(len(targets))
    greedy = np.empty(len(targets), dtype=np.bool_)
    for first in range(0, len(distinct), chunk):
        picked = states[torch.from_numpy(distinct[first : first + chunk]).to(device)]
        scores = logits(loaded, picked)
        for start in range(first, first + len(picked), block):
            stop = min(start + block, first + len(picked))
            low, high = np.searchsorted(inverse, [start, stop])
            rows_of = torch.from_numpy(inverse[low:high] - start).to(device)
            target = torch.from_numpy(targets[low:high]).to(device)
            found, best = _of_targets(scores[start - first : stop - first], rows_of, target)
            values[low:high] = found.double().cpu().numpy()
            greedy[low:high] = best.cpu().numpy()
    return values, greedy


def _of_targets(scores: Tensor, rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return fp32 log-probability `[targets]` and whether the target is the first of the highest `[targets]`."""
    found = scores.log_softmax(-1, dtype=torch.float32)[rows, targets]
    best = scores[rows, targets] >= scores.amax(-1)[rows]
    # an arg-max is slow on a CPU and only rarely wanted: where the target ties with the highest
    ties = best.nonzero()[:, 0]
    best[ties] = scores[rows[ties]].argmax(-1) == targets[ties]
    return found, best
