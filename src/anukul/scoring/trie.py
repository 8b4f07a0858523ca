"""Plan which tokens are forwarded: requests that share a prefix share its nodes in a token trie.

No torch here. A row is one trie (or several side by side) laid out in depth-first order, so that "node j is an
ancestor of node i" is the interval test `j <= i < ends[j]`: the whole attention mask of a row is one vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

# Cost of a forward, in units of one token through the linear layers of a decoder of hidden size h: a pair of
# positions costs PAIR / h (4h flops against the 24h² of a token, times the lower efficiency of masked attention),
# and every batch costs as much as OVERHEAD tokens. The constants only choose between layouts, never results.
PAIR = 0.25
OVERHEAD = 100
SHORTEST_ROW = 128


@dataclass(frozen=True, slots=True)
class Request:
    """Token ids of which `continuation` is scored after `context`; both non-empty."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(slots=True)
class Row:
    """A trie of some requests, depth first; all arrays are one-dimensional."""

    requests: list[int]  # indices into the call's requests, in lexicographic order of their inputs
    tokens: Ints  # [length]
    positions: Ints  # [length], depth in the trie
    ends: Ints  # [length], one past the last descendant of a node
    scored: Ints  # [targets], node whose logits predict a target
    targets: Ints  # [targets], continuation tokens of all requests, one request after the other
    starts: Ints  # [requests], where a request's targets start

    @property
    def length(self) -> int:
        """Nodes in the row."""
        return len(self.tokens)


@dataclass(slots=True)
class Plan:
    """All rows of a call, grouped into forwards."""

    batches: list[list[list[int]]]  # forward -> row -> request indices
    unique_tokens: int  # nodes over all rows
    alone_tokens: int  # what scoring each request by itself would forward


def window(request: Request, max_positions: int) -> tuple[int, ...]:
    """Return the tokens that are forwarded for a request: all but the last, cut on the left as lm-eval does."""
    return (request.context + request.continuation)[-(max_positions + 1) :][:-1]


def plan(requests: Sequence[Request], max_positions: int, token_budget: int, hidden: int) -> Plan:
    """Group requests into rows and rows into forwards of at most `token_budget` tokens.

    Requests are sorted so that shared prefixes meet. The longest row is the power of two (up to the budget) with the
    least estimated cost: long rows share more, short rows spend less on attention. A request longer than the budget
    is a forward by itself. The plan depends on nothing but the arguments.
    """
    inputs = [np.asarray(window(request, max_positions), dtype=np.int64) for request in requests]
    keys = [tokens.astype(">u4").tobytes() for tokens in inputs]
    order = sorted(range(len(inputs)), key=keys.__getitem__)
    lengths = np.array([len(inputs[index]) for index in order], dtype=np.int64)
    shared = np.array(
        [0] + [_common(inputs[left], inputs[right]) for left, right in pairwise(order)],
        dtype=np.int64,
    )
    best: tuple[float, list[list[tuple[int, int, int]]]] | None = None
    limit = SHORTEST_ROW
    while True:
        limit = min(limit, token_budget)
        batches = _batch(_cut(lengths, shared, limit), token_budget)
        cost = sum(_cost(len(batch), max(row[2] for row in batch), hidden) for batch in batches)
        if best is None or cost < best[0]:
            best = (cost, batches)
        if limit == token_budget:
            break
        limit *= 2
    grouped = [[order[first:last] for first, last, _ in batch] for batch in best[1]]
    unique = sum(row[2] for batch in best[1] for row in batch)
    return Plan(grouped, unique, int(lengths.sum()))


def build_row(requests: Sequence[Request], indices: list[int], max_positions: int) -> Row:
    """Lay out the trie of `indices`, which must be in the plan's order."""
    tokens: list[Ints] = []
    parents_path: Ints = np.zeros(0, dtype=np.int64)  # nodes of the request before, by depth
    before: Ints = np.zeros(0, dtype=np.int64)
    depths: list[Ints] = []
    scored: list[Ints] = []
    targets: list[Ints] = []
    starts = [0]
    size = 0
    for index in indices:
        now = np.asarray(window(requests[index], max_positions), dtype=np.int64)
        kept = _common(before, now)
        fresh = np.arange(size, size + len(now) - kept, dtype=np.int64)
        path = np.concatenate([parents_path[:kept], fresh])
        tokens.append(now[kept:])
        depths.append(np.arange(kept, len(now), dtype=np.int64))
        size += len(fresh)
        continuation = np.asarray(requests[index].continuation, dtype=np.int64)
        scored.append(path[len(path) - len(continuation) :])
        targets.append(continuation)
        starts.append(starts[-1] + len(continuation))
        before, parents_path = now, path
    positions = np.concatenate(depths)
    return Row(
        indices,
        np.concatenate(tokens),
        positions,
        _ends(positions),
        np.concatenate(scored),
        np.concatenate(targets),
        np.asarray(starts[:-1], dtype=np.int64),
    )


def _common(left: Ints, right: Ints) -> int:
    """Length of the common prefix."""
    size = min(len(left), len(right))
    differ = np.flatnonzero(left[:size] != right[:size])
    return int(differ[0]) if len(differ) else size


def _cut(lengths: Ints, shared: Ints, limit: int) -> list[tuple[int, int, int]]:
    """Cut the sorted requests into rows (first, last + 1, nodes) of at most `limit` nodes where that is possible."""
    rows: list[tuple[int, int, int]] = []
    first, nodes = 0, 0
    for index, (length, common) in enumerate(zip(lengths.tolist(), shared.tolist(), strict=True)):
        if index > first and nodes + length - common > limit:
            rows.append((first, index, nodes))
            first, nodes = index, 0
        nodes += length if index == first else length - common
    rows.append((first, len(lengths), nodes))
    return rows


def _batch(rows: list[tuple[int, int, int]], token_budget: int) -> list[list[tuple[int, int, int]]]:
    """Group rows, longest first (so that a lack of memory shows at once), into padded batches within the budget."""
    batches: list[list[tuple[int, int, int]]] = []
    for row in sorted(rows, key=lambda row: (-row[2], row[0])):
        if batches and (len(batches[-1]) + 1) * batches[-1][0][2] <= token_budget:
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches


def _cost(rows: int, length: int, hidden: int) -> float:
    return OVERHEAD + rows * length * (1 + PAIR * length / hidden)


def _ends(depths: Ints) -> Ints:
    """One past the last descendant: the next node that is not deeper, found with a stack."""
    ends = np.full(len(depths), len(depths), dtype=np.int64)
    open_nodes: list[tuple[int, int]] = []
    for index, depth in enumerate(depths.tolist()):
        while open_nodes and open_nodes[-1][1] >= depth:
            ends[open_nodes.pop()[0]] = index
        open_nodes.append((index, depth))
    return ends
