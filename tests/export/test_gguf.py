"""GGUF: what llama.cpp will read is what was merged, and an independent reader says so."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import HELD, NEPALI

from anukul import exports
from anukul.config import ModelSettings, RunConfig
from anukul.errors import UserError
from anukul.export import gguf_file, gguf_tokenizer
from anukul.export.gguf_tokenizer import SPLITS, convert
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base
from anukul.model.gguf_reader import load_gguf
from anukul.rundir import read_json

Trained = tuple[RunConfig, Path]
TEXTS = [*HELD, *NEPALI, "  two  spaces, 12345 and ३४५!", "It's done.\n\nनयाँ अनुच्छेद — है?"]


def of_type(config: RunConfig, kind: str) -> RunConfig:
    return config.model_copy(update={"export": config.export.model_copy(update={"gguf": kind})})


def test_the_file_is_read_back_and_compared(merged: Trained) -> None:
    config, root = merged
    folder = exports.run_export(of_type(config, "q8_0"), "name: small\n", root, "gguf")
    record = read_json(folder / "verify.json")
    assert record["logits"]["divergence"] < 0.005 and record["cut_into_other_tokens"] == 0
    assert 0.001 < record["its_error"] < 0.01
    assert 0 < record["largest_error"]["Q8_0"] < 0.006 and record["largest_error"]["F32"] == 0
    assert "no name for this tokenizer's way of cutting" in record["notes"][0]
    assert (folder / "small-q8_0.gguf").exists() and record["tensors"] == 2 + 2 * 9
    assert (root / "export/gguf/q8_0/done.json").exists()
    assert read_json(folder / "data.json") == read_json(root / "train/text/adapter/data.json")


def test_rows_in_the_wrong_order_are_found_by_the_independent_reader(
    merged: Trained, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    monkeypatch.setattr(gguf_file, "permute", lambda values, heads: values)
    config, root = merged
    with pytest.raises(
        UserError,
        match=r"the GGUF file is not the merged model: .*_proj\.weight came back 1\d\d\.\d% of its norm",
    ):
        exports.run_export(of_type(config, "f16"), "name: small\n", root, "gguf")
    assert not (root / "export/gguf/f16").exists()


@pytest.mark.parametrize("kind", ["bf16", "f16", "q8_0"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_type_comes_back_up_to_its_rounding(
    tmp_path: Path, tiny_base: Path, kind: str, tied: bool
) -> None:
    from transformers import AutoTokenizer

    model = build_llama(400, 64, 2, 4, seed=5, key_value_heads=2, max_positions=512, tied=tied)
    model.to(torch.bfloat16)
    save_base(model, AutoTokenizer.from_pretrained(str(tiny_base)), tmp_path / "m")
    tokenizer = convert(tmp_path / "m", 400, HELD)
    tensors = gguf_file.write(tmp_path / "m", tmp_path / "x.gguf", "x", kind, tokenizer)
    worst = gguf_file.read_back(tmp_path / "m", tmp_path / "x.gguf", tensors)
    assert {"bf16": worst.get("BF16"), "f16": 0.0, "q8_0": 0.0}[kind] == 0.0  # bf16 from bf16 loses nothing
    assert set(worst) == {"F32", kind.upper()} and (("output.weight" in {t.name for t in tensors}) != tied)
    loaded, notes = load_gguf(tmp_path / "m", tmp_path / "x.gguf")
    theirs = load_base(ModelSettings(path=str(tmp_path / "m"), quantization="none", compute_dtype="float32"))
    theirs.model.float()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        apart = (loaded.model(ids).logits - theirs.model(ids).logits).abs().max()
    assert notes == [] and float(apart) < {"bf16": 1e-5, "f16": 1e-4, "q8_0": 2e-2}[kind]


def test_a_value_that_was_changed_is_found(tmp_path: Path, tiny_base: Path) -> None:
    tokenizer = convert(tiny_base, 400, HELD)
    path = tmp_path / "x.gguf"
    tensors = gguf_file.write(tiny_base, path, "x", "f16", tokenizer)
    data = bytearray(path.read_bytes())
    data[-300] ^= 0x40
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"came back with an error of"):
        gguf_file.read_back(tiny_base, path, tensors)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model_type": "qwen2"}, r"Llama architecture \(llama, mistral\); this one is 'qwen2'"),
        ({"model_type": "mistral", "sliding_window": 4096}, "sliding window of 4096"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rotary embeddings of kind 'yarn'"),
    ],
)
def test_other_architectures_are_refused(
    tmp_path: Path, tiny_base: Path, changes: dict[str, Any], said: str
) -> None:
    config = json.loads((tiny_base / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(UserError, match=said):
        gguf_file.check_supported(tmp_path)


def test_a_tensor_without_a_name_is_refused(tmp_path: Path, tiny_base: Path) -> None:
    with pytest.raises(UserError, match=r"q_norm\.weight has no name"):
        gguf_file._name("model.layers.0.self_attn.q_norm.weight")


def test_rotary_factors_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {
        "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    }  # fmt: skip
    config = LlamaConfig(
        hidden_size=512, num_attention_heads=4, max_position_embeddings=131072, rope_parameters=rope
    )
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    plain = 500000.0 ** -(np.arange(0, 128, 2) / 128)
    factors = gguf_file._rope_factors({**config.to_dict(), "rope_parameters": rope})
    assert np.allclose(plain / factors, scaled.numpy(), rtol=1e-5)
    assert factors.min() == 1.0 and factors.max() == 8.0 and len(set(factors.tolist())) > 3


def test_splits_are_those_that_transformers_reads_by_the_same_names() -> None:
    from transformers.integrations.gguf import gguf_tokenizer_mapping as mapping

    for name in ("llama-bpe", "qwen2", "qwen35"):
        assert SPLITS[name] == mapping.GGUF_PRE_TOKENIZER_SPLITS[name]


def sentencepiece(folder: Path) -> Any:
    """A tokenizer of Llama 2's kind: BPE over characters, spaces as ▁, bytes where a character is unknown."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator([*NEPALI, *HELD] * 3, trainer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    data = json.loads(tokenizer.to_str())
    # the bytes are pieces of the vocabulary, not tokens that are cut out of the text
    data["added_tokens"] = [token for token in data["added_tokens"] if not token["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_a_sentencepiece_vocabulary_cuts_nepali_the_same(tmp_path: Path) -> None:
    tokenizer = sentencepiece(tmp_path)
    rows = len(tokenizer) + 4
    model = build_llama(rows, 64, 1, 4, seed=5, max_positions=512)
    save_base(model, tokenizer, tmp_path / "m")
    found = convert(tmp_path / "m", rows, HELD)
    assert (found.model, found.adds_bos, found.adds_eos, found.space_prefix) == ("llama", True, False, True)
    assert found.types.count(gguf_tokenizer.BYTE_TOKEN) == 256 and found.types[:3] == [2, 3, 3]
    assert found.types[-4:] == [gguf_tokenizer.UNUSED] * 4 and found.scores is not None
    gguf_file.write(tmp_path / "m", tmp_path / "x.gguf", "x", "bf16", found)
    loaded, _ = load_gguf(tmp_path / "m", tmp_path / "x.gguf")
    plain = [text for text in TEXTS if not text.startswith(" ")]
    assert len(plain) > 8
    for text in plain:
        ids = tokenizer.encode(text)
        assert loaded.tokenizer.encode(text) == ids and llama_cpp_spm(found, text) == ids[1:]


def llama_cpp_spm(tokenizer: gguf_tokenizer.GgufTokenizer, text: str) -> list[int]:
    """llama.cpp's way: join the neighbours whose joint piece scores highest, the leftmost first."""
    ids = {token: number for number, token in enumerate(tokenizer.tokens)}
    assert tokenizer.scores is not None
    parts = list(f"▁{text.replace(' ', '▁')}")
    while True:
        pairs = [
            (-tokenizer.scores[ids[left + right]], place)
            for place, (left, right) in enumerate(pairwise(parts))
            if left + right in ids
        ]
        if not pairs:
            break
        place = min(pairs)[1]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    found = []
    for part in parts:
        found += [ids[part]] if part in ids else [ids[f"<0x{byte:02X}>"] for byte in part.encode("utf-8")]
    return found


def test_a_split_that_llama_cpp_has_not_is_refused_where_it_shows(tiny_base: Path) -> None:
    found = convert(tiny_base, 400, HELD)
    assert found.pre == "qwen35" and found.notes and found.merges
    with pytest.raises(UserError, match=r"agrees on \d+ of \d+ texts. Use the merged model instead"):
        convert(tiny_base, 400, TEXTS)


@pytest.mark.real
def test_llama_3_is_known_by_its_split(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "tokenizer" / "llama3" / "hf"
    lines = (real_data / "parallel/flores200/npi_Deva.devtest").read_text(encoding="utf-8").splitlines()[:40]
    found = convert(source, 128256, lines)
    assert (found.model, found.pre, found.notes, found.adds_bos) == ("gpt2", "llama-bpe", [], True)
    assert len(found.tokens) == 128256 and found.types.count(gguf_tokenizer.CONTROL) == 256
