"""Merged and adapter exports: kept when a fresh process agrees, refused with the figure when it does not."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_run import config_of, train

from anukul import exports
from anukul.config import ModelSettings, RunConfig, VocabularySettings
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.export import verify
from anukul.export.texts import check_texts
from anukul.model import merge
from anukul.model.adapter import load_adapter
from anukul.model.base import load_base
from anukul.model.generate import generate_greedy
from anukul.model.loaded import Loaded
from anukul.rundir import read_json

Trained = tuple[RunConfig, Path]


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Trained:
    shutil.copytree(trained[1], tmp_path / "small")
    return trained[0], tmp_path / "small"


def continued(loaded: Loaded) -> list[str]:
    prompts = ["राम", "सीता विद्यालय", "किसानले"]
    ids = [[loaded.prefix_id, *loaded.tokenizer.encode(text, add_special_tokens=False)] for text in prompts]
    return generate_greedy(loaded, ids, 24)


def test_the_merged_model_is_checked_and_writes_the_same_text(merged: Trained) -> None:
    config, root = merged
    folder = root / "export/merged/model"
    record = read_json(folder / "verify.json")
    logits, (row,) = record["logits"], record["texts"]
    assert 0 <= logits["divergence"] < 0.005 and logits["positions"] == row["tokens"] > 50
    assert record["divergence_of_the_base"] > 20 * logits["divergence"]
    assert (
        row["held_out"] and abs(row["difference"]) < 0.01 < row["bits_per_byte_base"] - row["bits_per_byte"]
    )
    assert record["tolerance"]["max_divergence"] == 0.005 and "bf16" in record["tolerance"]["reason"]
    assert record["layers"]["layers"] == 16 and 0.9 < record["layers"]["least_share"] < 1.1
    assert record["dtype"] == "bfloat16" and record["tied_embeddings"]
    assert read_json(root / "export/merged/done.json")["outputs"].keys() == {"model"}
    data = read_json(folder / "data.json")
    assert data == read_json(root / "train/text/adapter/data.json")
    (row,) = data["stages"][0]["files"]["corpus/documents.parquet"]["rows"]
    assert row == {"source": "made up", "license": "CC0-1.0", "rows": 40}
    assert not [path for path in (root / "export/merged").iterdir() if path.name.startswith(".")]

    adapted = load_base(config.model)
    load_adapter(adapted, root / "train/text/adapter")
    alone = load_base(ModelSettings(path=str(folder), quantization="none", compute_dtype="float32"))
    assert continued(alone) == continued(adapted) and len(set(continued(alone))) > 1

    before = hash_path(folder)
    assert exports.run_export(config, "name: small\n", root, "merged") == folder
    assert hash_path(folder) == before  # kept, not made again
    changed = config.model_copy(update={"export": config.export.model_copy(update={"texts": 2})})
    with pytest.raises(UserError, match=r"export\.texts: 64 -> 2.* --redo, or"):
        exports.run_export(changed, "name: small\n", root, "merged")


def test_what_differs_is_refused_with_the_figure_and_nothing_stays(
    run: Trained, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    config, root = run
    whole = merge._lora

    def forgetful(layer: Any, prefix: str, dtype: torch.dtype) -> Any:
        if prefix == "model.layers.1.mlp.down_proj.":
            return merge._effective(layer.get_base_layer(), prefix, dtype)
        return whole(layer, prefix, dtype)

    with monkeypatch.context() as patch:
        patch.setattr(merge, "_lora", forgetful)
        with pytest.raises(UserError, match=r"layers\.1\.mlp\.down_proj: the merged weight holds"):
            exports.run_export(config, "name: small\n", root, "merged")
    assert not (root / "export/merged").exists()

    # right, but held to more than bf16 can give
    strict = config.export.model_copy(update={"max_divergence": 1e-9, "max_bits_per_byte": 1e-9})
    said = r"diverge by [\d.e-]+ nats per token over 51 positions, at most 1e-09 allowed .*; bits per byte of held are"
    with pytest.raises(UserError, match=said):
        exports.run_export(config.model_copy(update={"export": strict}), "name: small\n", root, "merged")
    assert not (root / "export/merged").exists()


def test_a_tokenizer_that_came_back_otherwise_is_refused(
    run: Trained, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    config, root = run
    whole = merge._save_tokenizer

    def other(loaded: Loaded, folder: Path) -> None:
        loaded.tokenizer.add_tokens(["सीता"])
        whole(loaded, folder)

    monkeypatch.setattr(merge, "_save_tokenizer", other)
    with pytest.raises(UserError, match=r"cuts \d of 4 texts differently|embedding rows"):
        exports.run_export(config, "name: small\n", root, "merged")
    assert not (root / "export/merged").exists()


def test_an_export_that_was_killed_is_made_anew(
    run: Trained, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    config, root = run

    class KilledError(Exception):
        pass

    def kill(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(verify, "reload", kill)
        with pytest.raises(KilledError):
            exports.run_export(config, "name: small\n", root, "adapter")
    assert (root / "export/adapter/started.json").exists() and not (root / "export/adapter/model").exists()
    folder = exports.run_export(config, "name: small\n", root, "adapter")
    record = read_json(folder / "verify.json")
    # the same weights and the same arithmetic: nothing may differ
    assert record["logits"]["divergence"] < 1e-9 and record["texts"][0]["difference"] == 0
    assert {path.name for path in folder.iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}


def test_new_pieces_go_with_every_export(tiny_base: Path, tmp_path: Path, in_process: None) -> None:
    config = config_of(tiny_base, tmp_path)
    assert config.train is not None
    more = VocabularySettings(extend=20, min_count=2)
    stages = (config.train.stages[0].model_copy(update={"max_steps": 3}),)
    settings = config.train.model_copy(update={"vocabulary": more, "stages": stages})
    config = config.model_copy(update={"train": settings})
    root = tmp_path / "small"
    train(config, root)
    for kind in ("merged", "adapter"):
        folder = exports.run_export(config, "name: small\n", root, kind)
        record = read_json(folder / "verify.json")
        (row,) = record["texts"]
        assert record["cut_into_other_tokens"] == 0 and record["divergence_of_the_base"] is None
        assert row["bits_per_byte_base"] > row["bits_per_byte"]  # each by its own tokenizer
    merged = load_base(
        ModelSettings(path=str(root / "export/merged/model"), quantization="none", compute_dtype="float32")
    )
    assert merged.vocabulary_rows == 420 == len(merged.tokenizer)


def test_the_corpus_is_taken_where_nothing_is_held_out(run: Trained) -> None:
    config, root = run
    held = check_texts(config, root)
    assert [(texts.name, texts.held_out, len(texts.texts)) for texts in held] == [("held", True, 4)]
    without = config.model_copy(update={"evaluate": None})
    (documents,) = check_texts(without, root)
    assert (documents.name, documents.held_out, len(documents.texts)) == ("corpus documents", False, 40)
    (root / "corpus/documents.parquet").unlink()
    with pytest.raises(UserError, match=r"no text to check the export on"):
        check_texts(without, root)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "onnx"), "'onnx' cannot be exported to; there are merged, adapter, gguf and --to hub"),
        (("--to", "hub"), "--to hub needs --repo owner/name"),
        (("--to", "merged"), "step 'train/text' is not done"),
        (("--to", "gguf", "--type", "q2"), "export.gguf"),
    ],
)
def test_mistakes_on_the_command_line_get_one_line(
    trained: Trained, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    config = yaml.safe_dump(trained[0].model_dump(mode="json", exclude_none=True))
    (tmp_path / "run.yaml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "anukul.cli", "export", "run.yaml", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2 and said in done.stderr and len(done.stderr.strip().splitlines()) == 1
