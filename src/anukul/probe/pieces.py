"""The sensitivity check: words read as the mean over their pieces in place of the last piece, all findings made anew.

A query word of several pieces is read at the last of them, the only one that has seen the whole word. Whether the
findings hang on this is seen by averaging the rows of all its pieces.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anukul import progress
from anukul.config import ProbeSettings
from anukul.errors import UserError
from anukul.model.attention import Capture, capturing
from anukul.model.loaded import Loaded, hidden_states
from anukul.probe.choose import MODELS
from anukul.probe.observe import Observed, Prepared
from anukul.probe.passes import gather
from anukul.probe.prepare import Work
from anukul.probe.results import Seen, entries_of, permutation_tests
from anukul.probe.tree import tree_scores

FILE = "pieces.json"


def check_pieces(
    settings: ProbeSettings,
    loaded: Loaded,
    work: Work,
    batches: Sequence[list[int]],
    parts: Path,
    seen: Seen,
    selected: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Return pieces.json: tree score and heads that know a relation, of base and adapted, read both ways.

    `holds`: the best heads that know a relation (`named`) do so read either way, in both models. Models with random
    weights are those of `seen`. A killed run goes on from `parts`.
    """
    by_mean = replace(seen, models={**seen.models, **_passes(loaded, work, batches, parts)})
    tests = {name: permutation_tests(by_mean, name, seed, settings.alpha) for name in MODELS}
    entries = entries_of(by_mean, tests, seed, settings.alpha)
    tree = tree_scores(by_mean.table, by_mean.compared, seed, by_mean.randoms)
    models: dict[str, Any] = {}
    holds = True
    for name in MODELS:
        read = {
            "last": _told(selected["relations"], name, selected["tree"]),
            "mean": _told(entries, name, tree),
        }
        models[name] = read
        last, mean = read["last"], read["mean"]
        holds &= all(head in mean["resolvers"] for head in last["named"])
        holds &= all(head in last["resolvers"] for head in mean["named"])
    words = [_sizes(item) for item in work.items]
    return {
        "words": sum(len(sizes) for sizes in words),
        "split": sum(int((sizes > 1).sum()) for sizes in words),
        "models": models,
        "relations": [_relation(old, new) for old, new in zip(selected["relations"], entries, strict=True)],
        "holds": bool(holds),
    }


def _told(entries: Sequence[dict[str, Any]], name: str, tree: dict[str, Any]) -> dict[str, Any]:
    def heads(of: str) -> list[list[int]]:
        found = {
            tuple(one) if isinstance(one, list) else (one["layer"], one["head"])
            for entry in entries
            for one in entry[name][of]
        }
        return [list(head) for head in sorted(found)]

    return {"tree": tree[name], "resolvers": heads("resolvers"), "named": heads("named")}


def _relation(last: dict[str, Any], mean: dict[str, Any]) -> dict[str, Any]:
    """One relation in one direction, cross-fitted, read both ways."""
    entry: dict[str, Any] = {"relation": last["relation"], "direction": last["direction"]}
    for name in MODELS:
        entry[name] = {
            way: {
                key: held[name]["crossfit"][key]
                for key in ("heads", "accuracy", "low", "high", "difference", "q")
            }
            for way, held in (("last", last), ("mean", mean))
        }
    return entry


def _sizes(item: Prepared) -> Any:
    """The number of pieces of each query word."""
    queries = sorted({arc.query for arc in item.arcs})
    return np.array([(item.aligned.word_of == word).sum() for word in queries])


def _passes(loaded: Loaded, work: Work, batches: Sequence[list[int]], parts: Path) -> dict[str, Any]:
    found = {}
    with progress.bar("probe, mean of pieces", len(MODELS) * len(work.items), "sentences") as bar:
        for name in MODELS:
            items = work.items if name == "adapted" else work.base_items
            for number, batch in enumerate(batches):
                path = parts / f"pieces-{name}-{number:06d}.npz"
                if not path.exists():
                    held = [items[i] for i in batch]
                    if name == "base":
                        with loaded.base_only():
                            observe_mean(loaded, held).save(path)
                    else:
                        observe_mean(loaded, held).save(path)
                bar.advance(len(batch), name)
            found[name] = gather(work.items, batches, parts, f"pieces-{name}")[0]
    return found


def observe_mean(loaded: Loaded, batch: Sequence[Prepared]) -> Observed:
    """Run sentences one after another, each query word's row the mean over its pieces; see `observe.Observed`.

    Raises UserError where attention cannot be seen in every layer.
    """
    seen = [_one(loaded, item) for item in batch]
    return Observed(
        np.concatenate([one.correct for one in seen]),
        np.concatenate([one.mass for one in seen]),
        np.concatenate([one.found for one in seen]),
        np.sum([one.sink for one in seen], axis=0),
        sum(one.rows for one in seen),
    )


def _one(loaded: Loaded, item: Prepared) -> Observed:
    device = loaded.device
    queries = sorted({arc.query for arc in item.arcs})
    pieces = [np.flatnonzero(item.aligned.word_of == word) for word in queries]
    tokens = np.concatenate(pieces)
    owner = torch.from_numpy(np.repeat(np.arange(len(queries)), [len(own) for own in pieces])).to(device)
    sizes = torch.bincount(owner, minlength=len(queries)).unsqueeze(-1)
    words = len(item.aligned.last)
    held: dict[int, tuple[Tensor, Tensor]] = {}

    def receive(layer: int, start: int, found: Tensor, first: Tensor) -> None:
        heads, count, width = found.shape[1:]
        if layer not in held:
            rows = torch.zeros(heads, len(queries), words, device=device)
            held[layer] = (rows, torch.zeros(heads, len(queries), device=device))
        own = owner[start : start + count]
        held[layer][0][..., :width].index_add_(1, own, found[0])
        held[layer][1].index_add_(1, own, first[0])

    capture = Capture(
        rows=torch.from_numpy(tokens)[None].to(device),
        word_of=torch.from_numpy(item.aligned.word_of)[None].to(device),
        receive=receive,
    )
    with torch.inference_mode(), loaded.autocast(), capturing(loaded, capture):
        hidden_states(loaded, torch.from_numpy(item.aligned.ids)[None].to(device))
    layers = int(loaded.causal_lm.config.get_text_config().num_hidden_layers)
    if sorted(held) != list(range(layers)):
        raise UserError(f"probe: attention is seen in {len(held)} of {layers} layers")
    rows = torch.stack([held[layer][0] / sizes for layer in range(layers)])
    first = torch.stack([(held[layer][1] / sizes.squeeze(-1)).sum(-1) for layer in range(layers)])
    return _reduced(item, queries, rows, first)


def _reduced(item: Prepared, queries: Sequence[int], rows: Tensor, first: Tensor) -> Observed:
    """Rows `[layers, heads, query words, words]` to arcs, the word itself and later ones left out."""
    query = torch.tensor(queries, device=rows.device)
    later = torch.arange(rows.shape[-1], device=rows.device) >= query.unsqueeze(-1)
    rows = rows.masked_fill(later, 0.0)
    place = {word: number for number, word in enumerate(queries)}
    row = torch.tensor([place[arc.query] for arc in item.arcs], device=rows.device)
    key = torch.tensor([arc.key for arc in item.arcs], device=rows.device)
    total = rows.sum(-1)[:, :, row]
    on_key = rows[:, :, row, key]
    mass = torch.where(total > 0, on_key / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0)
    found = rows.argmax(-1)[:, :, row].masked_fill(total <= 0, -1)
    arcs = found.permute(2, 0, 1).to(torch.int16).cpu().numpy()
    keys = np.array([arc.key for arc in item.arcs])[:, None, None]
    return Observed(
        arcs == keys,
        mass.permute(2, 0, 1).float().cpu().numpy(),
        arcs,
        first.double().cpu().numpy(),
        len(queries),
    )
