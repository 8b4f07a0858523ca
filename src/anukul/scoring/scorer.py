"""Score continuations of token ids with one state of a model; every distinct prefix is forwarded once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from anukul import progress
from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.model.trie_attention import trie_attention
from anukul.scoring.budget import token_budget
from anukul.scoring.cache import BatchCache, Score, wave_key
from anukul.scoring.padded import padded_batches, score_padded
from anukul.scoring.portions import PORTION_CHARACTERS, portions
from anukul.scoring.trie import Costs, Request, build_tree, plan, window
from anukul.scoring.walk import score_wave

SMALLEST_SLICE = 8
CARRIED_BYTES = {"cpu": 1 << 29, "cuda": 1 << 31}  # keys and values of paths, all trees of a wave together
Wave = list[list[int]]  # request indices of each tree


class Scorer:
    """Scores requests with one state of a model: base (adapter off) or adapted (adapter on)."""

    def __init__(
        self,
        loaded: Loaded,
        token_budget: int | None = None,
        adapter: bool = True,
        cache: BatchCache | None = None,
    ) -> None:
        self.loaded = loaded
        self._token_budget = token_budget
        self.adapter = adapter and loaded.has_adapter
        self.cache = cache
        self.follows: bool | None = None  # whether the model's attention follows a trie; None: not tried yet
        self.unique_tokens = 0  # forwarded so far, all calls together
        self.distinct_tokens = 0  # of one trie for each call: the fewest that could be forwarded
        self.alone_tokens = 0  # what scoring each request by itself would have forwarded
        self.cut = 0  # requests that lost the start of their context
        self._bar: progress.Bar | None = None

    @contextmanager
    def showing(self, label: str | None, total: int) -> Iterator[None]:
        """Show one progress bar for everything that is scored inside; without a label, or inside another, none."""
        if label is None or self._bar is not None:
            yield
            return
        before = self.cut
        with progress.bar(label, total, "requests") as self._bar:
            try:
                yield
            finally:
                self._bar = None
        if self.cut > before:
            progress.say(
                f"  {label}: {self.cut - before:,} prompts are longer than the model's window of "
                f"{self.loaded.max_positions} tokens and lost their start"
            )

    @torch.inference_mode()
    def score(self, requests: Sequence[Request]) -> list[Score]:
        """Return (log-likelihood in nats, is greedy) for each request, in the order given.

        Raise UserError for a continuation that is empty or longer than the model's window; a wave that does not fit in
        memory is split until it does.
        """
        if not requests:
            return []
        self._check(requests)
        scores: list[Score] = [(0.0, False)] * len(requests)
        with self.active(), self.loaded.autocast():
            follows = self._follows_tries()
            waves = self._plan(requests) if follows else self._plan_padded(requests)
            with trie_attention(self.loaded) if follows else nullcontext():
                for wave, size in waves:
                    indices = [index for tree in wave for index in tree]
                    for index, score in zip(indices, self._wave(requests, wave, size), strict=True):
                        scores[index] = score
                    if self._bar:
                        self._bar.advance(
                            len(indices), f"{self.unique_tokens / self.alone_tokens:.0%} of their tokens"
                        )
        return scores

    @property
    def name(self) -> str:
        """The weights, the quantization, the tokenizer and the state of the adapter, for the keys of caches."""
        return f"{self.loaded.fingerprint} {'adapted' if self.adapter else 'base'}"

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of this state of the model: an adapter may bring pieces that the base does not know."""
        return self.loaded.tokenizer_of(self.adapter)

    @property
    def token_budget(self) -> int:
        """Tokens in one forward; found by trial when it is first asked for, where none was given."""
        if self._token_budget is None:
            self._token_budget = token_budget(self.loaded)
        return self._token_budget

    def _plan(self, requests: Sequence[Request]) -> list[tuple[Wave, int]]:
        """The waves of a call and the nodes of a slice."""
        loaded = self.loaded
        costs = costs_of(loaded)
        planned = plan(requests, loaded.max_positions, self.token_budget, costs)
        self.unique_tokens += planned.unique_tokens
        self.distinct_tokens += planned.distinct_tokens
        self.alone_tokens += planned.alone_tokens
        return [(wave, planned.slice_nodes) for wave in planned.waves]

    def _plan_padded(self, requests: Sequence[Request]) -> list[tuple[Wave, int]]:
        """The batches of a call, as waves of one tree each; slices of 0 nodes say that they are not walked."""
        vocabulary = self.loaded.vocabulary_rows
        tokens = sum(len(window(request, self.loaded.max_positions)) for request in requests)
        self.unique_tokens += tokens
        self.distinct_tokens += tokens
        self.alone_tokens += tokens
        batches = padded_batches(
            requests, self.loaded.max_positions, self.token_budget, vocabulary, _border(self.loaded)
        )
        return [([batch], 0) for batch in batches]

    def _follows_tries(self) -> bool:
        """Whether the model's attention follows a trie; found out once, by scoring a few texts both ways."""
        if self.follows is None:
            reason = why_not(self.loaded)
            self.follows = reason is None
            if reason:
                progress.say(f"  scoring: {reason}; each text is scored by itself, padded, which is slower")
        return self.follows

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

    def score_texts(self, texts: Sequence[str]) -> list[float]:
        """Return the log-likelihood in nats of each whole text after BOS, in windows where it is longer than one."""
        tokenizer = self.tokenizer
        scores: list[float] = []
        for part in portions((len(text) for text in texts), PORTION_CHARACTERS):
            held = [texts[index] for index in part]
            encoded = tokenizer(held, add_special_tokens=False, verbose=False)["input_ids"]
            scores += self.score_rolling(encoded)
        return scores

    def score_rolling(self, encoded: Sequence[Sequence[int]]) -> list[float]:
        """Return the log-likelihood in nats of each token sequence after BOS; 0 for an empty one."""
        owners: list[int] = []
        requests: list[Request] = []
        for index, tokens in enumerate(encoded):
            windows = rolling_windows(tokens, self.loaded.prefix_id, self.loaded.max_positions)
            owners += [index] * len(windows)
            requests += windows
        if self._bar:
            self._bar.grow(len(requests) - len(encoded))
        totals = [0.0] * len(encoded)
        for owner, (value, _) in zip(owners, self.score(requests), strict=True):
            totals[owner] += value
        return totals

    def _check(self, requests: Sequence[Request]) -> None:
        """Refuse what cannot be scored exactly; count the prompts that do not fit in the window."""
        longest = self.loaded.max_positions
        for request in requests:
            size = len(request.continuation)
            if not request.context or not size or size > longest:
                raise UserError(
                    f"a continuation of {size} tokens after {len(request.context)} cannot be scored: both must be "
                    f"at least 1 and the continuation at most the model's window of {longest}; shorten the text"
                )
            self.cut += len(request.context) + size > longest + 1

    def _wave(self, requests: Sequence[Request], wave: Wave, size: int) -> list[Score]:
        """Return the scores of one wave, from the cache where it holds them."""
        if self.cache is None:
            return self._score(requests, wave, size)
        key = wave_key(f"{self.name} {size}", [[requests[index] for index in tree] for tree in wave])
        held = self.cache.get(key)
        if held is not None:
            return [(value, greedy) for value, greedy in held]
        scores = self._score(requests, wave, size)
        self.cache.put(key, scores)
        return scores

    def _score(self, requests: Sequence[Request], wave: Wave, size: int) -> list[Score]:
        """Score the trees of a wave; halve on lack of memory: the trees, then the slices or the batch."""
        try:
            if not size:
                return score_padded(self.loaded, [requests[index] for index in wave[0]])
            return _score_trees(self.loaded, requests, wave, size)
        except RuntimeError as error:
            if not isinstance(error, torch.OutOfMemoryError) and "out of memory" not in str(error).lower():
                raise
        if self.loaded.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(wave) > 1:
            half = len(wave) // 2
            return self._score(requests, wave[:half], size) + self._score(requests, wave[half:], size)
        if not size and len(wave[0]) > 1:
            half = len(wave[0]) // 2
            return self._score(requests, [wave[0][:half]], 0) + self._score(requests, [wave[0][half:]], 0)
        if size > SMALLEST_SLICE:
            return self._score(requests, wave, size // 2)
        longest = max(len(window(requests[index], self.loaded.max_positions)) for index in wave[0])
        raise UserError(
            f"one text of {longest} tokens does not fit in the memory of {self.loaded.device}; "
            "use a smaller base, nf4, or fewer shots"
        )


def _score_trees(loaded: Loaded, requests: Sequence[Request], wave: Wave, size: int) -> list[Score]:
    """Walk the trees of a wave and return the scores of their requests in order."""
    trees = [build_tree(requests, indices, loaded.max_positions) for indices in wave]
    scores: list[Score] = []
    for tree, (values, greedy) in zip(trees, score_wave(loaded, trees, size), strict=True):
        stops = [*tree.starts[1:].tolist(), len(tree.targets)]
        for start, stop in zip(tree.starts.tolist(), stops, strict=True):
            scores.append((float(values[start:stop].sum()), bool(greedy[start:stop].all())))
    return scores


def costs_of(loaded: Loaded) -> Costs:
    """What a forward costs on the model's device, in tokens of its decoder (docs/decisions/0006).

    A pair of positions costs 4h flops against the 24h² of a token of hidden size h, at a lower efficiency; launching a
    forward costs a fixed time, which is worth fewer tokens the larger they are.
    """
    config = loaded.causal_lm.config.get_text_config()
    hidden, heads = int(config.hidden_size), int(getattr(config, "num_attention_heads", 1))
    shared = int(getattr(config, "num_key_value_heads", None) or heads)
    size = int(config.to_dict().get("head_dim") or hidden // heads)
    width = 4 if loaded.compute_dtype == torch.float32 else 2
    carried = CARRIED_BYTES.get(loaded.device.type, 1 << 29) // (
        2 * int(config.num_hidden_layers) * shared * size * width
    )
    if loaded.device.type == "cuda":
        return Costs(pair=0.3 / hidden, forward=500, lane=20, carried=carried)
    return Costs(pair=0.4 / hidden, forward=1.6e7 / hidden**2, lane=4e6 / hidden**2, carried=carried)


def _border(loaded: Loaded) -> int:
    """The length beyond which a forward has other positions for all of its texts; 0 where there is none."""
    config = loaded.causal_lm.config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    if str(rope.get("rope_type", "default")) not in LENGTH_DEPENDENT:
        return 0
    own = rope.get("original_max_position_embeddings") or getattr(
        config, "original_max_position_embeddings", None
    )
    return int(own or config.max_position_embeddings)


LENGTH_DEPENDENT = ("longrope", "dynamic")
_STEM = tuple(5 + 7 * n % 83 for n in range(90))
# Two texts that part late, and two short ones that stand beside them: what depends on its neighbors or on the distance
# to a token shows in one of them.
PROBE = (
    Request(_STEM[:80], (9, 10)),
    Request(_STEM[:70], (11, 12, 13)),
    Request((6, 5, 8), (9,)),
    Request((7, 5), (11, 6, 9)),
)
# Nats per token by which two correct ways may differ.
AGREEMENT = {torch.float32: 2e-4, torch.bfloat16: 0.1}


@torch.inference_mode()
def why_not(loaded: Loaded) -> str | None:
    """Return why the model's attention does not follow a trie, None where it does."""
    name = type(loaded.causal_lm).__name__
    config = loaded.causal_lm.config.get_text_config()
    rope = str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))
    if rope in LENGTH_DEPENDENT:
        return f"the positions of {name} ({rope}) depend on the longest text of a forward"
    if getattr(loaded.causal_lm, "_is_stateful", False):
        return f"{name} carries a state from token to token"
    try:
        with trie_attention(loaded) as heard:
            # in the order of the plan, all side by side
            found = _score_trees(loaded, PROBE, [[1, 0], [2], [3]], 16)
        found[:2] = found[1::-1]
    except (TypeError, AttributeError, UserError) as error:
        # a decoder that does not hand keywords on to its attention cannot be told where a node stands
        if isinstance(error, TypeError) and "layout" not in str(error):
            raise
        return f"the attention of {name} does not follow a trie ({str(error).splitlines()[0]})"
    if len(heard.layers) < int(config.num_hidden_layers):
        return f"not every layer of {name} goes through the attention interface"
    if heard.masked - heard.windows:
        windows = ", ".join(map(str, sorted(heard.masked - heard.windows)))
        return f"a mask of {name} has a window or chunk of {windows} that its attention is not told of"
    alone = [score_padded(loaded, [request])[0] for request in PROBE]
    for (value, _), (wanted, _), request in zip(found, alone, PROBE, strict=True):
        if not abs(value - wanted) <= AGREEMENT.get(loaded.compute_dtype, 0.1) * len(request.continuation):
            return f"{name} gives other scores along a trie ({value:.3f} for {wanted:.3f} nats)"
    return None


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
