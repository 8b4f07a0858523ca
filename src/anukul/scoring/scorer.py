"""Score continuations: one forward for each batch of trie rows, logits only where a continuation token stands."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anukul import progress
from anukul.errors import UserError
from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.scoring.cache import Score, ScoreCache, forward_key
from anukul.scoring.trie import Ints, Request, Row, build_row, plan

LOGIT_ELEMENTS = {"cpu": 1 << 22, "cuda": 1 << 27}  # logits held at once: 16 MiB, 512 MiB in fp32


class Scorer:
    """Scores requests with one state of a model: base (adapter off) or adapted (adapter on)."""

    def __init__(
        self,
        loaded: Loaded,
        token_budget: int,
        adapter: bool = True,
        cache: ScoreCache | None = None,
    ) -> None:
        self.loaded = loaded
        self.token_budget = token_budget
        self.adapter = adapter and loaded.has_adapter
        self.cache = cache
        self.unique_tokens = 0  # forwarded so far, all calls together
        self.alone_tokens = 0  # what scoring each request by itself would have forwarded

    @torch.inference_mode()
    def score(self, requests: Sequence[Request], label: str | None = None) -> list[Score]:
        """Return (log-likelihood in nats, is greedy) for each request, in the order given.

        With a `label` a progress bar is shown. Raise UserError for a continuation that is empty or longer than the
        model's window; a forward that does not fit in memory is split until it does.
        """
        if not requests:
            return []
        self._check(requests)
        loaded = self.loaded
        hidden = int(loaded.causal_lm.config.get_text_config().hidden_size)
        planned = plan(requests, loaded.max_positions, self.token_budget, hidden)
        if label:
            self._tell_cuts(requests, label)
        self.unique_tokens += planned.unique_tokens
        self.alone_tokens += planned.alone_tokens
        scores: list[Score] = [(0.0, False)] * len(requests)
        shown = progress.bar(label, len(requests), "requests") if label else nullcontext(None)
        with shown as bar, self.active(), loaded.autocast():
            for batch in planned.batches:
                indices = [index for row in batch for index in row]
                for index, score in zip(indices, self._forward(requests, batch, indices), strict=True):
                    scores[index] = score
                if bar:
                    bar.advance(len(indices))
            if bar:
                bar.advance(
                    0, f"{planned.unique_tokens / planned.alone_tokens:.0%} of their tokens forwarded"
                )
        return scores

    @contextmanager
    def active(self) -> Iterator[None]:
        """The model in eval mode with the adapter in this scorer's state; put back afterwards."""
        training = self.loaded.model.training
        self.loaded.model.eval()
        try:
            with nullcontext() if self.adapter else self.loaded.base_only():
                yield
        finally:
            self.loaded.model.train(training)

    def score_texts(self, texts: Sequence[str], label: str | None = None) -> list[float]:
        """Return the log-likelihood in nats of each whole text after BOS, in windows where it is longer than one."""
        tokenizer = self.loaded.tokenizer
        encoded = (
            tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        )
        return self.score_rolling(encoded, label)

    def score_rolling(self, encoded: Sequence[Sequence[int]], label: str | None = None) -> list[float]:
        """Return the log-likelihood in nats of each token sequence after BOS; 0 for an empty one."""
        owners: list[int] = []
        requests: list[Request] = []
        for index, tokens in enumerate(encoded):
            windows = rolling_windows(tokens, self.loaded.prefix_id, self.loaded.max_positions)
            owners += [index] * len(windows)
            requests += windows
        totals = [0.0] * len(encoded)
        for owner, (value, _) in zip(owners, self.score(requests, label), strict=True):
            totals[owner] += value
        return totals

    def _tell_cuts(self, requests: Sequence[Request], label: str) -> None:
        """Say how many requests lose the start of their context."""
        longest = self.loaded.max_positions
        cut = sum(len(request.context) + len(request.continuation) > longest + 1 for request in requests)
        if cut:
            progress.say(
                f"  {label}: {cut:,} of {len(requests):,} prompts are longer than the model's window of {longest} "
                "tokens and lose their start"
            )

    def _check(self, requests: Sequence[Request]) -> None:
        """Refuse what cannot be scored exactly."""
        longest = self.loaded.max_positions
        sliding = _sliding_window(self.loaded)
        for request in requests:
            size = len(request.continuation)
            if not request.context or not size or size > longest:
                raise UserError(
                    f"a continuation of {size} tokens after {len(request.context)} cannot be scored: both must be "
                    f"at least 1 and the continuation at most the model's window of {longest}; shorten the text"
                )
            if sliding and len(request.context) + size - 1 > sliding:
                raise UserError(
                    f"a text of {len(request.context) + size} tokens is longer than this base's sliding attention "
                    f"window of {sliding}, which scoring does not support; shorten the text or lower `shots`"
                )

    def _forward(
        self, requests: Sequence[Request], batch: list[list[int]], indices: list[int]
    ) -> list[Score]:
        """Return the scores of one forward, from the cache where it holds them."""
        if self.cache is None:
            return self._score_batch(requests, batch)
        model = f"{self.loaded.fingerprint} {'adapted' if self.adapter else 'base'}"
        key = forward_key(model, [requests[index] for index in indices])
        held = self.cache.get(key)
        if held is None:
            held = self._score_batch(requests, batch)
            self.cache.put(key, held)
        return held

    def _score_batch(self, requests: Sequence[Request], batch: list[list[int]]) -> list[Score]:
        """Forward the rows together; halve on lack of memory, first the rows, then the requests of a row."""
        rows = [build_row(requests, row, self.loaded.max_positions) for row in batch]
        try:
            return self._score_rows(rows)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
                raise
            if sum(len(row) for row in batch) == 1:
                raise UserError(
                    f"one text of {rows[0].length} tokens does not fit in the memory of {self.loaded.device}; "
                    "use a smaller base, nf4, or fewer shots"
                ) from None
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(batch) > 1:
            half = len(batch) // 2
            parts = [batch[:half], batch[half:]]
        else:
            half = len(batch[0]) // 2
            parts = [[batch[0][:half]], [batch[0][half:]]]
        return [score for part in parts for score in self._score_batch(requests, part)]

    def _score_rows(self, rows: list[Row]) -> list[Score]:
        """Forward rows as one padded batch `[rows, longest]` and return the scores of their requests in order."""
        device = self.loaded.device
        longest = max(row.length for row in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        positions = np.zeros_like(ids)
        ends = np.tile(np.arange(1, longest + 1, dtype=np.int64), (len(rows), 1))  # padding sees only itself
        for number, row in enumerate(rows):
            ids[number, : row.length] = row.tokens
            positions[number, : row.length] = row.positions
            ends[number, : row.length] = row.ends
        mask = tree_mask(torch.from_numpy(ends).to(device))
        states = hidden_states(
            self.loaded, torch.from_numpy(ids).to(device), torch.from_numpy(positions).to(device), mask
        )
        nodes = np.concatenate([row.scored + number * longest for number, row in enumerate(rows)])
        targets = np.concatenate([row.targets for row in rows])
        values, greedy = self._token_scores(states.flatten(0, 1), nodes, targets)
        scores: list[Score] = []
        offset = 0
        for row in rows:
            stops = [*row.starts[1:].tolist(), len(row.targets)]
            for start, stop in zip(row.starts.tolist(), stops, strict=True):
                part = slice(offset + start, offset + stop)
                scores.append((float(values[part].sum()), bool(greedy[part].all())))
            offset += len(row.targets)
        return scores

    def _token_scores(
        self, states: Tensor, nodes: Ints, targets: Ints
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return log-probability `[targets]` and whether the target is the arg-max `[targets]`, in fp32 per token.

        `states` is `[nodes, hidden]`; each node's logits are computed once, in chunks of bounded size.
        """
        device = self.loaded.device
        distinct, inverse = np.unique(nodes, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        by_node = inverse[order]
        vocabulary = int(self.loaded.causal_lm.get_output_embeddings().weight.shape[0])
        chunk = max(1, LOGIT_ELEMENTS.get(device.type, 1 << 22) // vocabulary)
        values = np.empty(len(targets))
        greedy = np.empty(len(targets), dtype=np.bool_)
        for first in range(0, len(distinct), chunk):
            picked = states[torch.from_numpy(distinct[first : first + chunk]).to(device)]
            scores = logits(self.loaded, picked).float()
            low, high = np.searchsorted(by_node, [first, first + chunk])
            which = order[low:high]
            row = torch.from_numpy(by_node[low:high] - first).to(device)
            target = torch.from_numpy(targets[which]).to(device)
            found = scores[row, target] - scores.logsumexp(-1)[row]
            values[which] = found.double().cpu().numpy()
            greedy[which] = (scores.argmax(-1)[row] == target).cpu().numpy()
        return values, greedy


def tree_mask(ends: Tensor) -> Tensor:
    """Return the mask `[rows, 1, length, length]`: a node sees itself and its ancestors; `ends` is `[rows, length]`."""
    nodes = torch.arange(ends.shape[1], device=ends.device)
    query, key = nodes[:, None], nodes[None, :]
    return ((key <= query) & (query < ends[:, None, :]))[:, None]


def rolling_windows(tokens: Sequence[int], prefix_id: int, max_positions: int) -> list[Request]:
    """Cut a text into disjoint continuations that are each scored after as much context as the window holds.

    The rule is lm-eval's `get_rolling_token_windows` with a context of 1 and `make_disjoint_window`: the first window
    predicts after `prefix_id`, a later one fills the window with the tokens before it.
    """
    tokens = tuple(tokens)
    if not tokens:
        return []
    windows = [Request((prefix_id,), tokens[:max_positions])]
    done = len(windows[0].continuation)
    while done < len(tokens):
        end = min(done + max_positions, len(tokens))
        windows.append(Request(tokens[end - max_positions - 1 : done], tokens[done:end]))
        done = end
    return windows


def _sliding_window(loaded: Loaded) -> int | None:
    """The width of sliding attention where the base has such layers, else None."""
    config = loaded.causal_lm.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or []
    size = getattr(config, "sliding_window", None)
    return int(size) if size and any(kind != "full_attention" for kind in kinds) else None
