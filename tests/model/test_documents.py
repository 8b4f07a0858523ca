"""Attention of packed rows: what every document would get alone, and nothing from its neighbours."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from anukul.config import ModelSettings
from anukul.model import documents
from anukul.model.base import load_base
from anukul.model.documents import Documents, packed_attention
from anukul.model.loaded import hidden_states

CPU = torch.device("cpu")
ROWS, CONTEXT, HEADS, SHARED, SIZE = 2, 80, 4, 2, 8


def lengths() -> list[int]:
    """Documents that fill the rows exactly, the leftover cells of a row being a document as well."""
    made = [33, 1, 40, 6, 2, 5, 70, 3]
    assert sum(made) == ROWS * CONTEXT and sum(made[:4]) == CONTEXT
    return made


def states(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    heads = (HEADS, SHARED, SHARED)
    return [
        torch.randn(ROWS, count, CONTEXT, SIZE, generator=generator, requires_grad=True) for count in heads
    ]


def expected(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> Tensor:
    """The same by a mask over the whole rows."""
    owner = torch.repeat_interleave(torch.arange(len(lengths())), torch.tensor(lengths())).view(ROWS, CONTEXT)
    seen = (owner[:, :, None] == owner[:, None, :]) & torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).tril()
    if window is not None:
        seen &= torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1 - window)
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen.unsqueeze(1), enable_gqa=True
    ).transpose(1, 2)


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("short", [0, 512])
def test_equals_a_mask_over_the_row(monkeypatch: pytest.MonkeyPatch, short: int, window: int | None) -> None:
    monkeypatch.setattr(documents, "SHORT", short)
    given, masked = states(), states()
    layout = Documents.of(lengths(), CPU)
    assert len(layout.buckets) == 3 and sum(count for count, _ in layout.buckets) == len(lengths())
    output, _ = documents._attend(
        nn.Module(), *given, attention_mask=None, layout=layout, sliding_window=window
    )
    wanted = expected(*masked, window=window)
    weights = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(1))
    (output * weights).sum().backward()
    (wanted * weights).sum().backward()
    assert torch.allclose(output, wanted, atol=1e-6)
    for ours, theirs in zip(given, masked, strict=True):
        assert ours.grad is not None and theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)


def test_a_model_runs_documents_only_inside_the_block(tiny_base: Path) -> None:
    loaded = load_base(ModelSettings(path=str(tiny_base), compute_dtype="float32"))
    ids = torch.randint(3, 300, (ROWS, CONTEXT), generator=torch.Generator().manual_seed(2))
    positions = torch.cat([torch.arange(n) for n in lengths()]).view(ROWS, CONTEXT)
    with torch.no_grad():
        with packed_attention(loaded):
            packed = hidden_states(loaded, ids, positions, layout=Documents.of(lengths(), CPU))
            with pytest.raises(RuntimeError, match="did not hand `layout`"):
                hidden_states(loaded, ids, positions)
        assert loaded.causal_lm.config._attn_implementation == "sdpa"
        alone = [hidden_states(loaded, piece[None])[0] for piece in ids.flatten().split(lengths())]
    assert torch.allclose(packed.flatten(0, 1), torch.cat(alone), atol=1e-4)


@pytest.mark.parametrize("window", [None, 7])
def test_what_the_kernel_for_any_length_is_given_describes_the_documents(
    monkeypatch: pytest.MonkeyPatch, window: int | None
) -> None:
    """The kernel itself needs CUDA; here one document after another is attended from what it would be given."""

    def one_by_one(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        query_ends: Tensor,
        key_ends: Tensor,
        longest_query: int,
        longest_key: int,
        *,
        scale: float,
        window_size: tuple[int, int],
        enable_gqa: bool,
    ) -> Tensor:
        assert query_ends.dtype == key_ends.dtype == torch.int32 and torch.equal(query_ends, key_ends)
        assert longest_query == longest_key == max(lengths()) and window_size[1] == 0
        pieces = []
        for start, end in zip(query_ends[:-1].tolist(), query_ends[1:].tolist(), strict=True):
            seen = torch.ones(end - start, end - start, dtype=torch.bool).tril()
            if window_size[0] >= 0:
                seen = seen.triu(-window_size[0])
            parts = [states[start:end].transpose(0, 1)[None] for states in (query, key, value)]
            made = functional.scaled_dot_product_attention(
                *parts, attn_mask=seen, scale=scale, enable_gqa=enable_gqa
            )
            pieces.append(made[0].transpose(0, 1))
        return torch.cat(pieces)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", one_by_one)
    monkeypatch.setattr(documents, "takes_any_length", lambda *_: True)
    layout = Documents.of(lengths(), CPU)
    output, _ = documents._attend(
        nn.Module(), *states(), attention_mask=None, layout=layout, sliding_window=window
    )
    assert torch.allclose(output, expected(*states(), window=window), atol=1e-6)
