"""Formats, packing, replay, the plan and the loss, on a real tiny Llama."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_stage import ENGLISH, NEPALI, document, pair
from torch.nn import functional

from anukul.config import LoraSettings, ModelSettings, Stage, TrainSettings
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.documents import Documents, packed_attention
from anukul.model.loaded import Loaded
from anukul.records import Instruction
from anukul.train.formats import Example, Formatter, Segment, fit_to_context
from anukul.train.loss import cross_entropy, token_losses
from anukul.train.packing import Counts, collate, pack
from anukul.train.plan import plan_stage
from anukul.train.step import count_rows


@pytest.fixture
def loaded(tiny_settings: ModelSettings) -> Loaded:
    return load_base(tiny_settings)


@pytest.fixture
def formatter(loaded: Loaded) -> Formatter:
    return Formatter(loaded.tokenizer, loaded.prefix_id, "npi_Deva", "eng_Latn")


def learnt_text(loaded: Loaded, example: Example) -> str:
    return str(loaded.tokenizer.decode(example.ids[example.learnt], skip_special_tokens=True))


def test_only_the_target_side_is_learnt(loaded: Loaded, formatter: Formatter) -> None:
    one = pair(0)
    row = Instruction("i", "भात के हो?", "छोटो उत्तर", "खाना", "npi_Deva", "t", "CC0")
    expected = {"translation": " " + one.target_text, "instruct": " खाना"}
    for name, segments in {
        "translation": formatter.translation(one),
        "instruct": formatter.instruct(row),
    }.items():
        example = formatter.encode([segments])[0]
        assert learnt_text(loaded, example) == expected[name]
        assert example.ids[0] == loaded.prefix_id and not example.learnt[0]
        assert example.ids[-1] == formatter.end_id and example.learnt[-1]
        given = loaded.tokenizer.decode(example.ids[~example.learnt], skip_special_tokens=True)
        assert given == segments[0].text
    # Devanagari letters really are split over tokens here, so the border is a byte border
    assert len(formatter.encode([formatter.translation(one)])[0].ids) > len(one.target_text)


def test_bilingual_alternates_sentences(formatter: Formatter) -> None:
    two = pair(0, sentences=2)
    assert formatter.bilingual(two, 0)[0].text == f"{ENGLISH[0]} {NEPALI[1]}"
    assert formatter.bilingual(two, 1)[0].text == f"{NEPALI[0]} {ENGLISH[1]}"
    assert formatter.bilingual(two, 0)[0].learnt
    uneven = pair(1)
    uneven.source_text = "One. Two."
    assert formatter.bilingual(uneven, 0)[0].text == f"One. Two.\n{uneven.target_text}"


def test_long_text_is_cut_and_long_prompts_are_left_out(formatter: Formatter) -> None:
    text, prompt = formatter.encode([[Segment(NEPALI[0] * 9, True)], formatter.translation(pair(0))])
    pieces, left_out = fit_to_context([text, prompt], 20)
    assert left_out == 1 and all(len(piece.ids) <= 20 and piece.ids[0] == text.ids[0] for piece in pieces)
    assert np.array_equal(np.concatenate([piece.ids[1:] for piece in pieces]), text.ids[1:])


def test_packed_loss_equals_loss_alone(loaded: Loaded, formatter: Formatter) -> None:
    examples = formatter.encode([formatter.translation(pair(i)) for i in range(4)])
    context = sum(len(example.ids) for example in examples) + 7
    cpu = torch.device("cpu")
    batch = collate([[2, 0, 3, 1]], examples, context, 2, cpu)
    with torch.no_grad(), packed_attention(loaded):
        packed = token_losses(loaded, batch)
        alone = [token_losses(loaded, collate([[i]], examples, context, 2, cpu)) for i in (2, 0, 3, 1)]
        # the same row taken for one document: every example sees those before it
        joined = token_losses(loaded, replace(batch, documents=Documents.of([context], cpu)))
    assert torch.allclose(packed, torch.cat(alone), atol=1e-5)
    assert not torch.allclose(joined, torch.cat(alone), atol=1e-3)


@pytest.mark.parametrize("embeddings", ["frozen", "full"])
def test_sliced_loss_has_the_same_gradient(
    loaded: Loaded, formatter: Formatter, monkeypatch: pytest.MonkeyPatch, embeddings: str
) -> None:
    examples = formatter.encode([formatter.translation(pair(i)) for i in range(4)])
    batch = collate([[0, 1], [2, 3]], examples, 256, 2, torch.device("cpu"))
    add_adapter(loaded, LoraSettings(rank=4, alpha=4), embeddings, 0)  # type: ignore[arg-type]
    weights = torch.rand(len(batch.targets), generator=torch.Generator().manual_seed(0))
    found, losses = [], []
    for limit in (1 << 25, 400 * 5):
        monkeypatch.setattr("anukul.train.loss.MAX_LOGITS", limit)
        loaded.model.zero_grad()
        with packed_attention(loaded):
            loss = token_losses(loaded, batch)
            (loss * weights).sum().backward()
        losses.append(loss.detach())
        found.append([p.grad.clone() for p in trainable_parameters(loaded).values() if p.grad is not None])
    assert torch.allclose(losses[0], losses[1], atol=1e-6) and len(losses[0]) > 5 * 5
    assert len(found[0]) == len(found[1]) == len(trainable_parameters(loaded))
    assert any(bool(gradient.any()) for gradient in found[0])
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("block", [7, 1 << 18])
def test_cross_entropy_equals_the_stock_one(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("anukul.train.loss.BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    scores = [(torch.randn(9, 5, generator=generator) * 30).requires_grad_()]
    scores.append(scores[0].detach().clone().requires_grad_())
    targets = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
    weights = torch.rand(9, generator=generator)
    ours = cross_entropy(scores[0], targets)
    theirs = functional.cross_entropy(scores[1], targets, reduction="none")
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    assert torch.allclose(ours, theirs, atol=1e-5) and float(ours.detach().max()) > 50
    assert scores[0].grad is not None and scores[1].grad is not None
    assert torch.allclose(scores[0].grad, scores[1].grad, atol=1e-6)


def test_packing_keeps_every_example_once_and_wastes_little() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, 120, 3000).tolist()
    rows = pack(lengths, 256, rng.permutation(3000).tolist())
    assert sorted(index for row in rows for index in row) == list(range(3000))
    assert all(sum(lengths[i] for i in row) <= 256 for row in rows)
    assert sum(lengths) / (len(rows) * 256) > 0.97


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_replay_holds_its_share_of_tokens(share: float) -> None:
    rng = np.random.default_rng(1)

    def examples(count: int, replay: bool) -> list[Example]:
        return [
            Example(np.ones(n, np.int32), np.ones(n, np.bool_), replay)
            for n in rng.integers(5, 60, count).tolist()
        ]

    stage = Stage(name="s", format="text", epochs=1.5)
    settings = TrainSettings(stages=(stage,), context=128, batch_tokens=256, replay_share=share)
    plan = plan_stage(examples(2000, False), examples(40, True), settings, stage, seed=5)
    rows = count_rows(plan, plan.steps)  # of the steps that are taken, not of what was drawn
    assert abs(rows["replay_tokens"] / rows["tokens"] - share) < 0.01
    cut = plan_stage(
        examples(2000, False),
        examples(40, True),
        settings,
        stage.model_copy(update={"max_steps": 60}),
        seed=5,
    )
    rows = count_rows(cut, cut.steps)
    assert cut.steps == 60 and abs(rows["replay_tokens"] / rows["tokens"] - share) < 0.01
    again = plan_stage(examples(2000, False), examples(40, True), settings, stage, seed=5)
    assert len(again.rows) > 100 and plan.steps == len(plan.rows) // 2


def test_replay_without_text_is_refused() -> None:
    stage = Stage(name="s", format="text")
    settings = TrainSettings(stages=(stage,), context=64, batch_tokens=64, replay_share=0.2)
    own = [Example(np.ones(9, np.int32), np.ones(9, np.bool_))]
    with pytest.raises(UserError, match=r"corpus\.replay gave no text"):
        plan_stage(own, [], settings, stage, 0)
    with pytest.raises(UserError, match="no example that fits"):
        plan_stage([], own, settings, stage, 0)


def byte_values() -> dict[str, int]:
    """GPT-2's letters of byte-level tokens: {letter: byte}."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(b): b for b in shown} | {chr(256 + n): b for n, b in enumerate(hidden)}


def learnt_bytes(loaded: Loaded, example: Example) -> bytes:
    """The bytes of the learnt tokens, BOS and end token apart."""
    values = byte_values()
    pieces = loaded.tokenizer.convert_ids_to_tokens(example.ids[example.learnt][:-1].tolist())
    return bytes(values[letter] for piece in pieces for letter in piece)


def test_the_mask_covers_the_target_spans_to_the_byte_in_every_format(
    loaded: Loaded, formatter: Formatter
) -> None:
    one = pair(0, sentences=2)
    row = Instruction("i", "भात के हो?", "", "खाना हो।", "npi_Deva", "t", "CC0")
    segments = {
        "translation": formatter.translation(one),
        "instruct": formatter.instruct(row),
        "bilingual": formatter.bilingual(one, 1),
        "text": formatter.text(document(0, NEPALI[1], "npi_Deva")),
    }
    targets = {
        "translation": f" {one.target_text}",
        "instruct": " खाना हो।",
        "bilingual": f"{NEPALI[0]} {ENGLISH[1]}",
        "text": NEPALI[1],
    }
    for name, given in segments.items():
        example = formatter.encode([given])[0]
        assert learnt_bytes(loaded, example) == targets[name].encode()
    # a token here really holds a part of a letter, so a mask by characters could not be right
    example = formatter.encode([segments["translation"]])[0]
    pieces = loaded.tokenizer.convert_ids_to_tokens(example.ids[example.learnt][:-1].tolist())
    values = byte_values()
    assert any(0x80 <= values[piece[0]] < 0xC0 for piece in pieces)


def test_counts_are_those_of_the_rows(formatter: Formatter) -> None:
    examples = formatter.encode([formatter.translation(pair(i)) for i in range(3)])
    examples += formatter.encode([formatter.text(document(0, ENGLISH[0], "eng_Latn"))], replay=True)
    batch = collate([[2, 0], [3]], examples, 256, 2, torch.device("cpu"))
    tokens, learnt, replayed = Counts.of(examples).sums([[2, 0], [3]])
    assert tokens == sum(len(examples[i].ids) for i in (2, 0, 3))
    assert learnt == len(batch.targets) and replayed == int(batch.replay.sum()) > 0


def test_accumulation_does_not_change_the_loss(loaded: Loaded, formatter: Formatter) -> None:
    examples = formatter.encode([formatter.translation(pair(i, 1 + i % 2)) for i in range(4)])
    rows = [[0], [1, 2], [3]]
    _, learnt, _ = Counts.of(examples).sums(rows)
    add_adapter(loaded, LoraSettings(rank=4, alpha=4), "full", 0)
    found = []
    for size in (1, 2, 3):
        loaded.model.zero_grad()
        total = 0.0
        with packed_attention(loaded):
            for start in range(0, 3, size):
                batch = collate(rows[start : start + size], examples, 256, 2, torch.device("cpu"))
                loss = token_losses(loaded, batch).sum() / learnt
                loss.backward()
                total += float(loss.detach())
        found.append(
            (total, [p.grad.clone() for p in trainable_parameters(loaded).values() if p.grad is not None])
        )
    for total, gradients in found[1:]:
        assert total == pytest.approx(found[0][0], abs=1e-6)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(gradients, found[0][1], strict=True))
