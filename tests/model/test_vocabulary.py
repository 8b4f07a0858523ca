"""New pieces in a model: the base stays the base to the bit, the rows are learnt, saved, reloaded and merged."""

import shutil
import warnings
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file

from anukul.config import LoraSettings, ModelSettings, RunConfig, VocabularySettings
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, is_embedding, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base, train_tokenizer
from anukul.model.loaded import Loaded, hidden_states, logits
from anukul.model.merge import merge_into
from anukul.model.merge_check import check_layers
from anukul.model.vocabulary import MoreHead, add_vocabulary
from anukul.records import Document, write_rows
from anukul.scoring.scorer import Scorer
from anukul.train import step

Embeddings = Literal["frozen", "lora", "full"]
ENGLISH = [
    "Ram eats rice in the village. Sita went to school and read a book.",
    "The farmer planted maize near the river. Do you drink tea?",
] * 6
NEPALI = [
    "रामले गाउँमा भात खायो। सीता विद्यालय गई र किताब पढी।",
    "किसानले मकै रोप्यो। के तपाईं चिया पिउनुहुन्छ? केटाकेटीहरू खोलामा खेल्छन्।",
] * 6
ASKED = VocabularySettings(extend=40, min_count=2)
LORA = LoraSettings(rank=4, alpha=8)


def make_base(folder: Path, tied: bool, seed: int = 1, vocabulary: int = 400, rows: int = 410) -> Path:
    """A base that has read English only, with some rows that no token has, as many bases have."""
    tokenizer = train_tokenizer(ENGLISH, vocabulary)
    model = build_llama(rows, hidden=64, layers=2, heads=4, key_value_heads=2, seed=seed, tied=tied)
    save_base(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {tied: make_base(folder / str(tied), tied) for tied in (True, False)}


def open_base(folder: Path, quantization: str = "none", dtype: str = "float32") -> Loaded:
    data = {"path": str(folder), "quantization": quantization, "compute_dtype": dtype}
    return load_base(ModelSettings.model_validate(data))


def extended(folder: Path, embeddings: Embeddings = "frozen", **kwargs: str) -> Loaded:
    loaded = open_base(folder, **kwargs)
    add_adapter(loaded, LORA, embeddings, seed=3)
    add_vocabulary(loaded, ASKED, NEPALI, "npi_Deva", "eng_Latn")
    return loaded


def encode(loaded: Loaded, texts: list[str]) -> list[torch.Tensor]:
    return [torch.tensor([loaded.tokenizer(text, add_special_tokens=False)["input_ids"]]) for text in texts]


def run(loaded: Loaded, texts: list[str]) -> list[torch.Tensor]:
    with torch.no_grad(), loaded.autocast():
        return [logits(loaded, hidden_states(loaded, ids)) for ids in encode(loaded, texts)]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(*pair) for pair in zip(left, right, strict=True))


def train(loaded: Loaded, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW(trainable_parameters(loaded).values(), lr=1e-2)
    for _ in range(steps):
        for ids in encode(loaded, NEPALI[:2]):
            with loaded.autocast():
                scores = logits(loaded, hidden_states(loaded, ids))[0, :-1].float()
            torch.nn.functional.cross_entropy(scores, ids[0, 1:]).backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("embeddings", ["frozen", "lora", "full"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("quantization", "dtype"), [("none", "float32"), ("nf4", "bfloat16")])
def test_base_only_is_the_base_and_the_rest_reloads_to_the_same_bits(
    bases: dict[bool, Path], tmp_path: Path, tied: bool, embeddings: Embeddings, quantization: str, dtype: str
) -> None:
    texts = [ENGLISH[0], NEPALI[0]]
    before = run(open_base(bases[tied], quantization, dtype), texts)
    loaded = extended(bases[tied], embeddings, quantization=quantization, dtype=dtype)
    assert loaded.vocabulary_rows == 450 and len(loaded.tokenizer) == 450
    train(loaded)
    with loaded.base_only():
        assert same(before, run(loaded, texts)) and loaded.vocabulary_rows == 410
        assert loaded.tokenizer is loaded.base_tokenizer
    after = run(loaded, texts)
    assert after[0].shape[-1] == 450 and len(after[1][0]) < len(before[1][0]) / 2
    save_adapter(loaded, tmp_path / "adapter")
    again = open_base(bases[tied], quantization, dtype)
    load_adapter(again, tmp_path / "adapter")
    assert same(after, run(again, texts))
    with again.base_only():
        assert same(before, run(again, texts))
    save_adapter(again, tmp_path / "again")
    assert hash_path(tmp_path / "again" / "vocabulary") == hash_path(tmp_path / "adapter" / "vocabulary")


@pytest.mark.parametrize("tied", [True, False])
def test_rows_start_as_the_mean_of_their_old_pieces(bases: dict[bool, Path], tied: bool) -> None:
    loaded = extended(bases[tied])
    base = open_base(bases[tied])
    held = loaded.vocabulary
    assert held is not None
    texts = {index: held.tokenizer.decode([410 + index]) for index in range(40)}
    whole = {index: text for index, text in texts.items() if "\ufffd" not in text}
    assert len(whole) > 30
    for index, text in whole.items():
        old = base.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(old) > 1
        for rows, module in (
            (held.embeddings.rows, base.causal_lm.get_input_embeddings()),
            (held.head.rows, base.causal_lm.get_output_embeddings()),
        ):
            assert torch.equal(rows[index], module.weight[old].mean(0))
    assert (held.embeddings.rows is held.head.rows) == tied


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", ["frozen", "lora", "full"])
def test_the_embeddings_have_a_learning_rate_of_their_own_and_nothing_is_trained_twice(
    bases: dict[bool, Path], tied: bool, embeddings: Embeddings
) -> None:
    loaded = extended(bases[tied], embeddings)
    parameters = trainable_parameters(loaded)
    own = {name for name in parameters if is_embedding(name)}
    kinds = {"frozen": 0, "lora": 2, "full": 1}[embeddings]
    assert len(own) == (kinds + 1) * (1 if tied else 2)
    assert len({parameter.data_ptr() for parameter in parameters.values()}) == len(parameters)
    others = set(parameters) - own
    assert others and all("lora_" in name and "proj" in name for name in others)
    assert not any(is_embedding(name) for name in others)


def test_lora_on_tied_embeddings_is_one_change_with_the_gradient_of_both_ends(
    bases: dict[bool, Path], tmp_path: Path
) -> None:
    loaded = open_base(bases[True])
    add_adapter(loaded, LORA, "lora", seed=3)
    train(loaded)
    model = loaded.causal_lm
    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    change = inputs.get_delta_weight("default").detach()
    assert change.abs().max() > 0 and torch.equal(change, outputs.get_delta_weight("default").detach())
    # against dense embeddings that are really one tensor
    factor_a, factor_b = inputs.lora_embedding_A["default"], inputs.lora_embedding_B["default"]
    dense = torch.nn.Parameter((inputs.base_layer.weight + change).detach())
    ids = encode(loaded, NEPALI[:1])[0]

    def loss() -> torch.Tensor:
        scores = logits(loaded, hidden_states(loaded, ids))[0, :-1]
        return torch.nn.functional.cross_entropy(scores, ids[0, 1:])

    loss().backward()
    found = factor_a.grad.clone()
    model.set_input_embeddings(torch.nn.Embedding.from_pretrained(dense, freeze=False))
    head = torch.nn.Linear(64, 410, bias=False)
    head.weight = model.get_input_embeddings().weight
    model.set_output_embeddings(head)
    loss().backward()
    whole = head.weight.grad
    scaling = inputs.scaling["default"]
    assert torch.allclose(found, scaling * factor_b.detach().T @ whole.T, atol=1e-5)
    model.set_input_embeddings(inputs)
    model.set_output_embeddings(outputs)
    # peft by itself reads the same adapter as the same model
    save_adapter(loaded, tmp_path / "adapter")
    from peft import PeftModel

    other = open_base(bases[True])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        other.model = PeftModel.from_pretrained(other.model, str(tmp_path / "adapter")).eval()
    loaded.model.eval()
    assert torch.allclose(run(other, NEPALI[:1])[0], run(loaded, NEPALI[:1])[0], atol=1e-5)


def test_a_base_with_other_rows_or_another_tokenizer_is_refused(
    bases: dict[bool, Path], tmp_path: Path
) -> None:
    save_adapter(extended(bases[True]), tmp_path / "adapter")
    faults = {
        "base embeddings": make_base(tmp_path / "seed", tied=True, seed=2),
        "base rows": make_base(tmp_path / "rows", tied=True, rows=411),
        "tied": bases[False],
    }
    shutil.copytree(bases[True], tmp_path / "tokenizer")
    train_tokenizer([*ENGLISH, "quizzes of zebras"] * 3, 390).save_pretrained(str(tmp_path / "tokenizer"))
    faults["base tokenizer"] = tmp_path / "tokenizer"
    for name, folder in faults.items():
        with pytest.raises(UserError, match=f"do not fit this base: {name} is"):
            load_adapter(open_base(folder), tmp_path / "adapter")


@pytest.mark.parametrize("embeddings", ["frozen", "lora", "full"])
@pytest.mark.parametrize("tied", [True, False])
def test_merged_and_reloaded_it_is_the_same_model(
    bases: dict[bool, Path], tmp_path: Path, tied: bool, embeddings: Embeddings
) -> None:
    loaded = extended(bases[tied], embeddings)
    train(loaded)
    loaded.model.eval()
    expected = run(loaded, [ENGLISH[0], NEPALI[0]])
    merge_into(loaded, tmp_path, "float32", 1 << 30)
    assert check_layers(loaded, tmp_path, torch.float32).layers == 14 + (2 if embeddings != "frozen" else 0)
    merged = open_base(tmp_path)
    assert merged.causal_lm.config.vocab_size == 450 == len(merged.tokenizer)
    assert merged.causal_lm.config.tie_word_embeddings == tied
    for text in (ENGLISH[0], NEPALI[0]):
        assert merged.tokenizer(text)["input_ids"] == loaded.tokenizer(text)["input_ids"]
    for left, right in zip(run(merged, [ENGLISH[0], NEPALI[0]]), expected, strict=True):
        assert torch.allclose(left, right, atol=1e-5)


def test_base_and_adapted_are_scored_each_with_its_own_tokenizer(bases: dict[bool, Path]) -> None:
    alone = Scorer(open_base(bases[False]), 256).score_texts([ENGLISH[0], NEPALI[0]])
    loaded = extended(bases[False])
    train(loaded, steps=8)
    base, adapted = (Scorer(loaded, 256, adapter=state) for state in (False, True))
    assert base.score_texts([ENGLISH[0], NEPALI[0]]) == alone
    found = adapted.score_texts([ENGLISH[0], NEPALI[0]])
    assert found[1] > alone[1] / 2  # learnt: more than twice fewer nats for the whole text
    assert len(adapted.tokenizer(NEPALI[0])["input_ids"]) < len(base.tokenizer(NEPALI[0])["input_ids"]) / 2


def test_a_head_that_rows_cannot_be_added_to_is_refused(bases: dict[bool, Path]) -> None:
    loaded = open_base(bases[False])
    head = torch.nn.Linear(64, 410, bias=True)
    loaded.causal_lm.set_output_embeddings(head)
    with pytest.raises(UserError, match="rows cannot be added"):
        add_vocabulary(loaded, ASKED, NEPALI, "npi_Deva", "eng_Latn")


def make_run(root: Path, base: Path, embeddings: str) -> RunConfig:
    rows = [Document(f"d{i}", text, "npi_Deva", "t", "CC0", []) for i, text in enumerate(NEPALI)]
    write_rows(root / "corpus" / "documents.parquet", rows, Document)
    english = [Document(f"e{i}", text, "eng_Latn", "t", "CC0", []) for i, text in enumerate(ENGLISH)]
    write_rows(root / "corpus" / "replay.parquet", english, Document)
    return RunConfig.model_validate(
        {
            "name": "t",
            "language": "npi_Deva",
            "model": {"path": str(base), "quantization": "nf4"},
            "train": {
                "lora": {"rank": 4, "alpha": 8},
                "embeddings": embeddings,
                "vocabulary": {"extend": 40, "min_count": 2},
                "context": 64,
                "batch_tokens": 128,
                "learning_rate": 1e-2,
                "replay_share": 0.2,
                "checkpoint_steps": 2,
                "stages": [
                    {"name": "one", "format": "text", "epochs": 1.5},
                    {"name": "two", "format": "text", "epochs": 0.5},
                ],
            },
        }
    )


@pytest.mark.parametrize(("embeddings", "tied"), [("lora", True), ("full", False)])
def test_a_killed_stage_with_new_pieces_resumes_to_the_same_bits_and_is_carried_on(
    bases: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embeddings: str, tied: bool
) -> None:
    config = make_run(tmp_path / "whole", bases[tied], embeddings)
    for index in range(2):
        step.run_stage(config, tmp_path / "whole", index)
    make_run(tmp_path / "killed", bases[tied], embeddings)
    save = step.save_adapter
    saved: list[Path] = []

    def killed(loaded: Any, folder: Path) -> None:
        save(loaded, folder)
        saved.append(folder)
        if len(saved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, "save_adapter", killed)
        with pytest.raises(KeyboardInterrupt):
            step.run_stage(config, tmp_path / "killed", 0)
    for index in range(2):
        step.run_stage(config, tmp_path / "killed", index)
    for name in ("one", "two"):
        whole, again = (tmp_path / run / "train" / name / "adapter" for run in ("whole", "killed"))
        assert hash_path(whole) == hash_path(again)
    first, second = (
        load_file(str(tmp_path / "whole/train" / name / "adapter/vocabulary/rows.safetensors"))
        for name in ("one", "two")
    )
    assert set(first) == ({"input"} if tied else {"input", "output"})
    assert all(not torch.equal(first[name], second[name]) for name in first)


def test_the_saved_rows_decide(bases: dict[bool, Path], tmp_path: Path) -> None:
    loaded = extended(bases[False])
    save_adapter(loaded, tmp_path)
    rows = load_file(str(tmp_path / "vocabulary" / "rows.safetensors"))
    save_file(
        {name: row + 1 for name, row in rows.items()}, str(tmp_path / "vocabulary" / "rows.safetensors")
    )
    again = open_base(bases[False])
    load_adapter(again, tmp_path)
    head = again.causal_lm.get_output_embeddings()
    assert isinstance(head, MoreHead) and torch.equal(head.weight[410:], rows["output"] + 1)
