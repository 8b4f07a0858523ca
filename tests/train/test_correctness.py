"""What is trained is what was meant: losses and masks against independent reckonings, on real tiny Llamas."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from made_stage import ENGLISH, NEPALI, document, pair, random_example
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anukul.config import LoraSettings, ModelSettings, Stage, TrainSettings
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.build import build_llama
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded
from anukul.records import Instruction, Pair
from anukul.tokenizer.script import bytes_of
from anukul.train.formats import Example, Formatter, Segment
from anukul.train.loss import MAX_LOGITS, token_losses
from anukul.train.packing import Batch, collate, pack
from anukul.train.plan import plan_stage

CPU = torch.device("cpu")
Embeddings = Literal["frozen", "lora", "full"]


def llama(tokenizer: Any, embeddings: Embeddings, tied: bool, dtype: torch.dtype = torch.float32) -> Loaded:
    """A tiny Llama with an adapter that is not zero."""
    model = build_llama(len(tokenizer), hidden=64, layers=2, heads=4, key_value_heads=2, seed=1, tied=tied)
    loaded = Loaded(model.requires_grad_(False), tokenizer, CPU, dtype, "made")
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), embeddings, 0)
    generator = torch.Generator().manual_seed(3)
    for parameter in trainable_parameters(loaded).values():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return loaded


@pytest.fixture
def tokenizer(tiny_settings: ModelSettings) -> Any:
    return load_base(tiny_settings).tokenizer


def formatter_of(tokenizer: Any) -> Formatter:
    return Formatter(tokenizer, int(tokenizer.bos_token_id), "npi_Deva", "eng_Latn")


def replaced(english: str, nepali: str) -> Pair:
    one = pair(0)
    one.source_text, one.target_text = english, nepali
    return one


def written(formatter: Formatter, english: str, nepali: str) -> list[tuple[list[Segment], str, str]]:
    """The segments of every format, what of each is given and what is learnt, written out by hand."""
    one = replaced(english, nepali)
    row = Instruction("i", english, "", nepali, "npi_Deva", "t", "CC0")
    return [
        (formatter.translation(one), f"English: {english}\nNepali:", f" {nepali}"),
        (formatter.instruct(row), f"प्रश्न: {english}\nउत्तर:", f" {nepali}"),
        (formatter.bilingual(one, 1), "", nepali),
        (formatter.text(document(0, nepali, "npi_Deva")), "", nepali),
    ]


def every_format(tokenizer: Any) -> list[Example]:
    """Examples of every format and of different lengths."""
    formatter = formatter_of(tokenizer)
    rows = [row for i in range(4) for row, _, _ in written(formatter, ENGLISH[i], " ".join(NEPALI[: i + 1]))]
    return formatter.encode(rows)


def gradients(loaded: Loaded) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in trainable_parameters(loaded).items() if p.grad is not None}
    loaded.model.zero_grad()
    assert len(found) == len(trainable_parameters(loaded)) and all(bool(g.any()) for g in found.values())
    return found


def assert_near(found: dict[str, Tensor], wanted: dict[str, Tensor], share: float) -> None:
    """Every gradient is that which is wanted but for `share` of its length."""
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert float((gradient - wanted[name]).norm()) < share * float(wanted[name].norm()), name


def test_packed_loss_is_that_of_the_plain_model(tokenizer: Any) -> None:
    """Against transformers' own forward on every example alone, its shift and its labels: nothing of ours but ids."""
    loaded = llama(tokenizer, "full", tied=True)
    examples = every_format(tokenizer)
    lengths = [len(example.ids) for example in examples]
    rows = pack(lengths, 256, np.random.default_rng(0).permutation(len(examples)).tolist())
    assert any(len(row) > 2 for row in rows) and len(rows) > 1
    with packed_attention(loaded):
        losses = token_losses(loaded, collate(rows, examples, 256, 2, CPU))
    losses.sum().backward()
    packed = gradients(loaded)
    order = [index for row in rows for index in row]
    counts = [int(examples[index].learnt[1:].sum()) for index in order]
    for index, part in zip(order, losses.detach().split(counts), strict=True):
        ids = torch.from_numpy(examples[index].ids.astype(np.int64))[None]
        labels = ids.masked_fill(~torch.from_numpy(examples[index].learnt)[None], -100)
        mean = loaded.model(input_ids=ids, labels=labels, use_cache=False).loss
        assert float(part.mean()) == pytest.approx(float(mean.detach()), abs=1e-5)
        (mean * len(part)).backward()
    assert_near(packed, gradients(loaded), 1e-4)


def plain_losses(loaded: Loaded, batch: Batch) -> Tensor:
    """Logits of every cell at once, and torch's own cross-entropy on those that are learnt."""
    with packed_attention(loaded):
        decoder = loaded.causal_lm.get_decoder()
        states = decoder(
            input_ids=batch.ids, position_ids=batch.positions, use_cache=False, layout=batch.documents
        ).last_hidden_state
    scores = loaded.causal_lm.get_output_embeddings()(states).flatten(0, 1).float()
    return functional.cross_entropy(scores[batch.predicting], batch.targets, reduction="none")


@pytest.mark.parametrize(
    ("embeddings", "tied"),
    [("frozen", True), ("frozen", False), ("lora", True), ("lora", False), ("full", True), ("full", False)],
)
@pytest.mark.parametrize(("dtype", "share"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_the_gradient_of_slices_is_that_of_all_logits_at_once(
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    embeddings: Embeddings,
    tied: bool,
    dtype: torch.dtype,
    share: float,
) -> None:
    loaded = llama(tokenizer, embeddings, tied, dtype)
    batch = collate([[0, 1], [2, 3]], every_format(tokenizer), 256, 2, CPU)
    weights = torch.rand(len(batch.targets), generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("anukul.train.loss.MAX_LOGITS", 7 * loaded.vocabulary_rows)
    with loaded.autocast(), packed_attention(loaded):
        losses = token_losses(loaded, batch)
    (losses * weights).sum().backward()
    sliced = gradients(loaded)
    with loaded.autocast():
        plain = plain_losses(loaded, batch)
    (plain * weights).sum().backward()
    assert len(plain) > 5 * 7 and torch.allclose(losses, plain, atol=1e-5 if share < 0.01 else 0.05)
    assert_near(sliced, gradients(loaded), share)


@pytest.mark.parametrize("limit", [1 << 25, 4000])
def test_logits_are_made_for_learnt_tokens_alone(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    loaded = llama(tokenizer, "frozen", tied=False)
    batch = collate([[0, 1], [4, 5]], every_format(tokenizer), 256, 2, CPU)
    made: list[int] = []
    head = loaded.causal_lm.get_output_embeddings()
    head.register_forward_hook(lambda _, given, __: made.append(given[0].numel() // given[0].shape[-1]))
    monkeypatch.setattr("anukul.train.loss.MAX_LOGITS", limit)
    with packed_attention(loaded):
        token_losses(loaded, batch).sum().backward()
    assert sum(made) == len(batch.targets) < batch.ids.numel() / 2
    assert (len(made) > 5) == (limit == 4000)


class Held(TorchDispatchMode):
    """The most bytes that were alive at once in tensors made in the block, and the largest of them."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = self.largest = 0

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() > 1 << 20:
                reference = StorageWeakRef(tensor.untyped_storage())
                self.alive[reference.cdata] = reference, tensor.untyped_storage().nbytes()
        self.alive = {key: kept for key, kept in self.alive.items() if not kept[0].expired()}
        sizes = [size for _, size in self.alive.values()]
        self.largest, self.most = max([self.largest, *sizes]), max(self.most, sum(sizes))
        return made


@pytest.mark.parametrize("embeddings", ["frozen", "full"])
def test_a_vocabulary_of_128k_never_stands_in_memory(embeddings: Embeddings) -> None:
    vocabulary, learnt = 128_256, 800
    model = build_llama(vocabulary, hidden=16, layers=1, heads=2, seed=1, tied=False)
    loaded = Loaded(model.requires_grad_(False), None, CPU, torch.float32, "made")
    add_adapter(loaded, LoraSettings(rank=2, alpha=2), embeddings, 0)
    batch = collate([[0]], [random_example(0, learnt + 1)], learnt + 1, 2, CPU)
    with Held() as held, packed_attention(loaded):
        token_losses(loaded, batch).sum().backward()
    assert len(batch.targets) == learnt
    assert 1 << 24 < held.largest / 4 <= MAX_LOGITS
    assert held.most < learnt * vocabulary * 4  # less than the logits of all tokens take by themselves


def learnt_bytes(tokenizer: Any, batch: Batch, rows: Sequence[Sequence[int]]) -> bytes:
    """The bytes of what the loss of packed rows asks for, end tokens left out; a token may hold part of a letter."""
    assert torch.equal(batch.ids.flatten()[batch.predicting + 1], batch.targets)
    ends = batch.targets == tokenizer.eos_token_id
    assert int(ends.sum()) == sum(map(len, rows))
    pieces = tokenizer.convert_ids_to_tokens(batch.targets[~ends].tolist())
    return b"".join(bytes_of(piece) or b"?" for piece in pieces)


def assert_spans(tokenizer: Any, pairs: Sequence[tuple[str, str]], context: int) -> int:
    """The loss covers the target spans to the byte in every format; return how many tokens begin inside a character."""
    formatter = formatter_of(tokenizer)
    made = [row for english, nepali in pairs for row in written(formatter, english, nepali)]
    examples = formatter.encode([segments for segments, _, _ in made])
    assert max(len(example.ids) for example in examples) <= context
    order = np.random.default_rng(0).permutation(len(examples)).tolist()
    rows = pack([len(example.ids) for example in examples], context, order)
    found = learnt_bytes(tokenizer, collate(rows, examples, context, 2, CPU), rows)
    assert found == "".join(made[index][2] for row in rows for index in row).encode()
    for example, (_, given, learnt) in zip(examples, made, strict=True):
        pieces = tokenizer.convert_ids_to_tokens(example.ids[1:-1].tolist())
        whole = b"".join(bytes_of(piece) or b"?" for piece in pieces)
        assert whole == (given + learnt).encode()
    used = np.unique(np.concatenate([example.ids[1:-1] for example in examples])).tolist()
    starts = [(bytes_of(piece) or b"?")[0] for piece in tokenizer.convert_ids_to_tokens(used)]
    return sum(0x80 <= byte < 0xC0 for byte in starts)


def test_the_loss_covers_the_target_spans_to_the_byte(tokenizer: Any) -> None:
    # pairs whose sides are of one sentence: in `bilingual` the first stands for both
    assert assert_spans(tokenizer, list(zip(ENGLISH, NEPALI, strict=True)), 256) > 5


@pytest.mark.real
def test_the_loss_covers_the_target_spans_with_the_tokenizer_of_llama_3(real_data: Path) -> None:
    from transformers import AutoTokenizer

    llama_3 = AutoTokenizer.from_pretrained(str(real_data / "tokenizer/llama3/hf"))
    sides = [
        (real_data / f"parallel/tico19/tico19-test.{code}").read_text(encoding="utf-8").splitlines()
        for code in ("eng", "nep")
    ]
    formatter = formatter_of(llama_3)
    pairs = [
        one
        for one in zip(*(side[:600] for side in sides), strict=True)
        if formatter.bilingual(replaced(*one), 1)[0].text == one[1]  # of one sentence
    ]
    assert len(pairs) > 300
    assert assert_spans(llama_3, pairs, 2048) > 10


def prepending_tokenizer() -> Any:
    """A tokenizer that puts a space before every text it is given, as sentencepiece models of Llama 2's kind do."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    # pieces do not reach over spaces, which the finished model knows by its merges alone
    made.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="never", split=True)
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<s>", "</s>"], show_progress=False)
    texts = [*ENGLISH, *NEPALI, "English: \nNepali: प्रश्न: \nउत्तर: "]
    made.train_from_iterator(texts * 3, trainer)
    made.pre_tokenizer = None  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", clean_up_tokenization_spaces=False
    )


@pytest.mark.parametrize("kind", ["byte-level", "prepending"])
def test_segments_read_as_the_whole_text_would(tokenizer: Any, kind: str) -> None:
    """What training sees is what a prompt and its answer are when they are encoded together, as evaluation does."""
    cutter = tokenizer if kind == "byte-level" else prepending_tokenizer()
    formatter = formatter_of(cutter)
    for segments, given, learnt in written(formatter, ENGLISH[0], NEPALI[0]):
        example = formatter.encode([segments])[0]
        assert cutter.decode(example.ids[1:-1]) == given + learnt
        assert example.ids[1:-1].tolist() == cutter(given + learnt, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("epochs", "max_steps"), [(0.7, None), (2.5, None), (3.0, 60)])
@pytest.mark.parametrize("share", [0.1, 0.3])
def test_replay_holds_its_share_of_what_is_laid_out(
    seed: int, epochs: float, max_steps: int | None, share: float
) -> None:
    """Replay documents longer than the context, own examples short; counted cell by cell in the batches."""
    rng = np.random.default_rng(seed)

    def examples(lengths: Sequence[int], replay: bool) -> list[Example]:
        # own tokens are 5, replayed ones 7: the batch itself tells them apart
        filling = 7 if replay else 5
        return [Example(np.full(n, filling, np.int32), np.arange(n) > 0, replay) for n in lengths]

    own = examples(rng.integers(6, 90, 1500).tolist(), False)
    replayed = examples(rng.integers(40, 900, 25).tolist(), True)
    stage = Stage(name="s", format="text", epochs=epochs, max_steps=max_steps)
    settings = TrainSettings(stages=(stage,), context=256, batch_tokens=1024, replay_share=share)
    plan = plan_stage(own, replayed, settings, stage, seed)
    counts = np.zeros(8, np.int64)
    for step in range(plan.steps):
        batch = collate(plan.step_rows(step), plan.examples, 256, 2, CPU)
        counts += np.bincount(batch.ids.flatten().numpy(), minlength=8)
    assert counts[5] + counts[7] > 50 * 256
    assert abs(counts[7] / (counts[5] + counts[7]) - share) < 0.01
