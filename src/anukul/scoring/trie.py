"""Plan which tokens are forwarded: requests that share a prefix share its nodes in a token trie.

No torch here. A tree is one trie (or several side by side) laid out in depth-first order, so that "node j is an
ancestor of node i" is the interval test `j <= i < ends[j]`. Trees are walked a slice of nodes at a time, with the keys
and values of the path to the slice carried along: every distinct token of a tree is forwarded once, however large the
tree, and a token attends over its path and its slice only. A wave is the trees that are walked side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

SMALLEST_TREE = 128
LARGEST_TREE = 1 << 16  # a wave is what a killed run loses
SLICES = (32, 64, 128, 256, 512, 1024, 2048)


@dataclass(frozen=True, slots=True)
class Request:
    """Token ids of which `continuation` is scored after `context`; both non-empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """What a forward costs, in units of one token through the linear layers; chooses between layouts, never results."""

    pair: float  # one query over one key
    forward: float  # one forward, however small
    lane: float  # one tree in one forward
    carried: int  # tokens of path whose keys and values may be carried at once, a bound rather than a cost


@dataclass(slots=True)
class Tree:
    """A trie of some requests, depth first; all arrays are one-dimensional."""

    requests: list[int]  # indices into the call's requests, in lexicographic order of their inputs
    tokens: Ints  # [nodes]
    depths: Ints  # [nodes], position of a node's token in its text
    ends: Ints  # [nodes], one past the last descendant of a node
    scored: Ints  # [targets], node whose logits predict a target
    targets: Ints  # [targets], continuation tokens of all requests, one request after the other
    starts: Ints  # [requests], where a request's targets start

    @property
    def size(self) -> int:
        """Nodes in the tree."""
        return len(self.tokens)


@dataclass(frozen=True, slots=True)
class Plan:
    """All trees of a call, grouped into waves."""

    waves: list[list[list[int]]]  # wave -> tree -> request indices
    slice_nodes: int  # nodes of a tree in one forward
    unique_tokens: int  # nodes over all trees
    distinct_tokens: int  # nodes of the one trie of all requests: the fewest that could be forwarded
    alone_tokens: int  # what scoring each request by itself would forward


def window(request: Request, max_positions: int) -> tuple[int, ...]:
    """Return the tokens that are forwarded for a request: all but the last, cut on the left as lm-eval does."""
    return (request.context + request.continuation)[-(max_positions + 1) :][:-1]


def plan(requests: Sequence[Request], max_positions: int, token_budget: int, costs: Costs) -> Plan:
    """Group requests into trees and trees into waves whose forwards hold at most `token_budget` tokens.

    Requests are sorted so that shared prefixes meet. The size of trees and of slices is the pair with the least
    estimated cost: large trees share more, many trees side by side keep slices, and with them attention, short. The
    plan depends on nothing but the arguments.
    """
    inputs = [np.asarray(window(request, max_positions), dtype=np.int64) for request in requests]
    keys = [tokens.astype(">u4").tobytes() for tokens in inputs]
    order = sorted(range(len(inputs)), key=keys.__getitem__)
    lengths = np.array([len(inputs[index]) for index in order], dtype=np.int64)
    shared = np.array(
        [0] + [_common(inputs[left], inputs[right]) for left, right in pairwise(order)], dtype=np.int64
    )
    distinct = int((lengths - shared).sum())
    depths = np.concatenate([np.arange(a, b) for a, b in zip(shared.tolist(), lengths.tolist(), strict=True)])
    offsets = np.concatenate([[0], np.cumsum(lengths - shared)])
    sizes = [size for size in SLICES if size <= token_budget] or [token_budget]
    limits = [SMALLEST_TREE]
    while limits[-1] < min(distinct, LARGEST_TREE):
        limits.append(2 * limits[-1])
    candidates = [
        (cuts, size) for cuts in (_cut(lengths, shared, limit) for limit in limits) for size in sizes
    ]
    forest = _Forest(depths, offsets, lengths, shared)
    cuts, size = min(candidates, key=lambda found: _cost(found[0], found[1], token_budget, costs, forest))
    waves = [
        [order[first:last] for first, last, _ in wave]
        for wave in _waves(cuts, size, token_budget, lengths, costs.carried)
    ]
    return Plan(waves, size, sum(nodes for _, _, nodes in cuts), distinct, int(lengths.sum()))


_Cut = tuple[int, int, int]  # first request, last + 1, nodes
_Waves = list[list[_Cut]]


def build_tree(requests: Sequence[Request], indices: Sequence[int], max_positions: int) -> Tree:
    """Lay out the trie of `indices`, which must be in the plan's order."""
    tokens: list[Ints] = []
    path: Ints = np.zeros(0, dtype=np.int64)  # nodes of the request before, by depth
    before: Ints = np.zeros(0, dtype=np.int64)
    depths: list[Ints] = []
    scored: list[Ints] = []
    targets: list[Ints] = []
    starts = [0]
    size = 0
    for index in indices:
        now = np.asarray(window(requests[index], max_positions), dtype=np.int64)
        kept = _common(before, now)
        path = np.concatenate([path[:kept], np.arange(size, size + len(now) - kept, dtype=np.int64)])
        tokens.append(now[kept:])
        depths.append(np.arange(kept, len(now), dtype=np.int64))
        size += len(now) - kept
        continuation = np.asarray(requests[index].continuation, dtype=np.int64)
        scored.append(path[len(path) - len(continuation) :])
        targets.append(continuation)
        starts.append(starts[-1] + len(continuation))
        before = now
    joined = np.concatenate(depths)
    return Tree(
        list(indices),
        np.concatenate(tokens),
        joined,
        _ends(joined),
        np.concatenate(scored),
        np.concatenate(targets),
        np.asarray(starts[:-1], dtype=np.int64),
    )


def _common(left: Ints, right: Ints) -> int:
    """Length of the common prefix."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(left[:size] != right[:size])
    return int(differ[0]) if len(differ) else size


def _cut(lengths: Ints, shared: Ints, limit: int) -> list[_Cut]:
    """Cut the sorted requests into trees of at most `limit` nodes where that is possible.

    A tree that is full is cut where its last three quarters share the fewest tokens across the cut: these are
    forwarded twice.
    """
    size, common = lengths.tolist(), shared.tolist()
    trees: list[_Cut] = []
    first, nodes = 0, 0
    index = 0
    while index < len(size):
        fresh = size[index] if index == first else size[index] - common[index]
        if index > first and nodes + fresh > limit:
            where, held, least = index, nodes, common[index]
            back = nodes
            for candidate in range(index - 1, first, -1):
                back -= size[candidate] - common[candidate]
                if back < limit // 4:
                    break
                if common[candidate] < least:
                    where, held, least = candidate, back, common[candidate]
            trees.append((first, where, held))
            first, nodes, index = where, 0, where
            continue
        nodes += fresh
        index += 1
    trees.append((first, len(size), nodes))
    return trees


def _waves(cuts: list[_Cut], slice_nodes: int, token_budget: int, lengths: Ints, carried: int) -> _Waves:
    """Group trees, largest first (so that a lack of memory shows at once), as many as have room side by side.

    Room is `token_budget` new nodes in a forward, and `carried` tokens of path and slice in all, if every tree stood
    at its deepest.
    """
    lanes = max(1, token_budget // slice_nodes)
    waves: _Waves = []
    deepest = 0
    for cut in sorted(cuts, key=lambda cut: (-cut[2], cut[0])):
        depth = int(lengths[cut[0] : cut[1]].max()) + slice_nodes
        deepest = max(deepest, depth)
        if waves and len(waves[-1]) < lanes and (len(waves[-1]) + 1) * deepest <= carried:
            waves[-1].append(cut)
        else:
            waves.append([cut])
            deepest = depth
    return waves


@dataclass(frozen=True, slots=True)
class _Forest:
    """The one trie of all requests, of which trees are cut."""

    depths: Ints  # [nodes]
    offsets: Ints  # [requests + 1], where a request's own nodes start
    lengths: Ints  # [requests]
    shared: Ints  # [requests], tokens in common with the request before


def _cost(cuts: list[_Cut], slice_nodes: int, token_budget: int, costs: Costs, forest: _Forest) -> float:
    """Estimate what walking the trees costs."""
    total = 0.0
    for wave in _waves(cuts, slice_nodes, token_budget, forest.lengths, costs.carried):
        total += costs.forward * -(-wave[0][2] // slice_nodes)
        for first, _, nodes in wave:
            starts = np.arange(0, nodes, slice_nodes)
            # the first request of a tree is laid out whole, the nodes after it stand as in the one trie of all
            rest = np.minimum(forest.offsets[first] + starts - forest.shared[first], len(forest.depths) - 1)
            path = np.where(starts < forest.lengths[first], starts, forest.depths[rest])
            sizes = np.minimum(slice_nodes, nodes - starts)
            total += nodes + costs.lane * len(starts) + costs.pair * float((sizes * (path + sizes)).sum())
    return total


def _ends(depths: Ints) -> Ints:
    """One past the last descendant: the next node that is not deeper, found with a stack."""
    ends = np.full(len(depths), len(depths), dtype=np.int64)
    open_nodes: list[tuple[int, int]] = []
    for index, depth in enumerate(depths.tolist()):
        while open_nodes and open_nodes[-1][1] >= depth:
            ends[open_nodes.pop()[0]] = index
        open_nodes.append((index, depth))
    return ends
