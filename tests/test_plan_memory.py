"""Predicted memory against what a run's own process then holds, and against torch's own figures of a pass."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anukul.config import ModelSettings, RunConfig
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base, train_tokenizer
from anukul.model.shape import read_shape
from anukul.model.weightless import weightless
from anukul.plan.counted import Counted
from anukul.plan.memory import Pass, count_passes, moments, on_gpu
from anukul.plan.printed import cpu_needs, gather
from anukul.records import Pair, write_rows
from anukul.train.formats import Example
from anukul.train.packing import Batch, collate

WORDS = [
    "राम",
    "भात",
    "खान्छ",
    "सीता",
    "विद्यालय",
    "गई",
    "किसानले",
    "मकै",
    "रोप्यो",
    "के",
    "तपाईं",
    "चिया",
    "पिउनुहुन्छ",
]
TRAIN = """
import json, sys
from pathlib import Path
from anukul import cli, pipeline, progress
from anukul.config import RunConfig
from anukul.train.step import run_stage
progress.mute()
run_stage(RunConfig.model_validate(json.loads(sys.argv[1])), Path(sys.argv[2]), 0)
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024)
"""


def make(folder: Path, base: tuple[int, int, int, int], tied: bool, **train: Any) -> RunConfig:
    """A random base (vocabulary, hidden, layers, heads) with pairs to train on, and the config of a run of it."""
    draw = np.random.default_rng(0)
    # of many lengths, so that as many kernels are kept as of a run
    texts = [" ".join(draw.choice(WORDS, draw.integers(5, 100))) for _ in range(400)]
    save_base(build_llama(*base, seed=0, tied=tied), train_tokenizer(texts, 400), folder / "base")
    pairs = [
        Pair(str(i), "", text[:80], text, "eng_Latn", "npi_Deva", "organic", "", "", "")
        for i, text in enumerate(texts)
    ]
    write_rows(folder / "synth" / "pairs.parquet", pairs, Pair)
    stage = {"name": "one", "format": "translation", "max_steps": 12, "epochs": 20}
    given = {"stages": [stage], "context": 512, "replay_share": 0.0, **train}
    model = {"path": str(folder / "base")}
    return RunConfig.model_validate({"name": "t", "language": "npi_Deva", "model": model, "train": given})


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's peak")
@pytest.mark.parametrize(
    ("base", "tied", "train"),
    [
        # activations and logits: 18 M weights, eight rows in a forward
        (
            (8000, 384, 6, 6),
            False,
            {"lora": {"rank": 16}, "micro_batch_tokens": 4096, "batch_tokens": 8192},
        ),
        # what is trained: 33 M weights, of which the embeddings in full
        (
            (32_000, 512, 4, 8),
            True,
            {"lora": {"rank": 64}, "embeddings": "full", "micro_batch_tokens": 1024, "batch_tokens": 1024},
        ),
    ],
)
def test_a_run_on_the_cpu_holds_what_was_predicted(
    tmp_path: Path, base: tuple[int, int, int, int], tied: bool, train: dict[str, Any]
) -> None:
    config = make(tmp_path, base, tied, **train)
    command = [sys.executable, "-c", TRAIN, config.model_dump_json(), str(tmp_path)]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    found = gather(config, tmp_path)
    [need] = cpu_needs(found, found.costs)
    measured = int(run.communicate()[0])
    assert need.process < 0.6 * need.total, "the libraries would hide what is predicted"
    assert abs(need.total / measured - 1) < 0.10, json.dumps(
        {name: round(getattr(need, name) / 2**20) for name in ("weights", "trained", "working", "process")}
        | {"predicted": round(need.total / 2**20), "measured": round(measured / 2**20)}
    )


def config_of(base: Path, **train: Any) -> RunConfig:
    settings = {
        "stages": [{"name": "s", "format": "text"}],
        "context": 128,
        "batch_tokens": 256,
        "lora": {"rank": 8},
        **train,
    }
    return RunConfig.model_validate(
        {"name": "t", "language": "npi_Deva", "model": {"path": str(base)}, "train": settings}
    )


def full_batch(rows: int, context: int) -> Batch:
    one = Example(np.full(context, 5, np.int32), np.ones(context, np.bool_))
    return collate([[0]] * rows, [one], context, 0, torch.device("cpu"))


def test_a_copied_module_stays_in_the_mode_of_its_block() -> None:
    """A copy of the mode itself overwrote memory, and `plan` died where embeddings are trained in full."""
    with weightless():
        layer = torch.nn.Embedding(10, 4)
        copy = deepcopy(layer)
        first, second = layer.weight, copy.weight
        assert second is not first and second.fake_mode is first.fake_mode


def test_storages_are_counted_once_and_until_their_last_tensor_is_gone() -> None:
    with Counted() as counted:
        first = torch.zeros(1000)
        assert counted.live == 4000
        view = first[:10].view(2, 5)
        second = first + 1
        assert counted.live == 8000
        del first
        assert counted.live == 8000  # the view holds it
        del view
        assert counted.live == 4000 and counted.peak == 8000
        assert counted.restart() == 4000 == counted.peak
        second.add_(1)
        assert counted.peak == 4000


def test_weights_without_content_are_those_of_the_loaded_base(tiny_base: Path) -> None:
    config = config_of(tiny_base)
    [found] = count_passes(config, [full_batch(1, 128)], False, False, False, layers=2)
    loaded = load_base(config.model)
    held = {p.data_ptr(): p.numel() * p.element_size() for p in loaded.model.parameters()}
    buffers = sum(b.numel() * b.element_size() for b in loaded.model.buffers())
    # beside them stand a few tables of the rotary embeddings
    assert 0 <= found.frozen - sum(held.values()) - buffers < 4096
    assert found.trained == 4 * read_shape(config.model).lora_parameters(8)


def test_more_layers_follow_in_a_straight_line(tmp_path: Path) -> None:
    save_base(build_llama(400, 64, 7, 4, seed=0), train_tokenizer(WORDS, 300), tmp_path)
    config, batch = config_of(tmp_path), full_batch(2, 128)
    import anukul.plan.memory as memory

    for recomputed in (False, True):
        [followed] = count_passes(config, [batch], False, False, recomputed, layers=7)
        frozen, inside, trained, embeddings, *peaks = memory._count(
            config, [batch], False, False, recomputed, 7
        )
        assert (followed.frozen, followed.layers, followed.trained) == (frozen, inside, trained)
        assert followed.embeddings == embeddings == 0
        assert followed.first == pytest.approx(max(peaks[:3]), rel=0.01)
        assert followed.again == pytest.approx(max(peaks[3:]), rel=0.01)


def test_what_a_gpu_needs_falls_with_every_measure(tiny_base: Path) -> None:
    config, batch = config_of(tiny_base, batch_tokens=512), full_batch(2, 128)
    shape = read_shape(config.model)
    least, kept, dense = on_gpu(config, shape, batch)
    assert "recomputed" in least.what and least.working < kept.working and least.weights == kept.weights
    assert dense.weights > kept.weights and dense.total > kept.total > least.total
    full = config_of(tiny_base, activation_checkpointing="full")
    shared, alone = on_gpu(full, shape, batch, processes=2)
    assert shared.weights <= alone.weights and "FSDP2" in shared.what
    held = 4 * shape.lora_parameters(8)
    assert least.trained == 3 * held  # weights and two moments
    found = Pass(0, 0, held, 0, 0, 0)
    sizes = []
    for name in ("adamw", "adamw_8bit", "paged_adamw_8bit"):
        settings = config_of(tiny_base, optimizer=name).train
        assert settings is not None
        sizes.append(moments(settings, found))
        # those of embeddings stay in 32 bits
        whole = Pass(0, 0, held, held, 0, 0)
        assert moments(settings, whole) == (0 if name.startswith("paged") else 2 * held)
    assert sizes[0] == 2 * held and 0.5 * held < sizes[1] < 0.6 * held and sizes[2] == 0


def test_gradients_that_stand_count_where_steps_take_several_micro_batches(tiny_base: Path) -> None:
    batch = full_batch(2, 128)
    [found] = count_passes(config_of(tiny_base), [batch], False, False, False, layers=2)
    assert found.first < found.again <= found.first + 2 * found.trained


@pytest.mark.parametrize("lora", [{"dora": True}, {"init": "pissa"}])
def test_variants_are_counted_too(tiny_base: Path, lora: dict[str, Any]) -> None:
    config = config_of(tiny_base, lora={"rank": 8, **lora})
    batch = full_batch(1, 128)
    [plain] = count_passes(config_of(tiny_base), [batch], True, True, False, layers=2)
    [found] = count_passes(config, [batch], True, True, False, layers=2)
    assert found.trained >= plain.trained and found.first > plain.first
    [kept] = count_passes(config, [batch], True, False, False, layers=2)
    assert found.frozen < kept.frozen


def test_llama_3_8b_fits_where_others_say_it_does() -> None:
    """torchtune: 7.4 GiB for an 8B QLoRA (rank 8, attention only) at 2,048; ours trains all layers at rank 16."""
    config = RunConfig.model_validate(
        {
            "name": "t",
            "language": "npi_Deva",
            "model": {"path": "nowhere", "shape": "llama-3-8b"},
            "train": {
                "stages": [{"name": "s", "format": "text"}],
                "lora": {"rank": 16},
                "batch_tokens": 2048,
                "activation_checkpointing": "full",
            },
        }
    )
    shape = read_shape(ModelSettings(path="nowhere", shape="llama-3-8b"))
    least = on_gpu(config, shape, full_batch(1, 2048))[0]
    assert 5.65e9 < least.weights < 5.75e9  # 6.98 G weights in 4.127 bits, 1.05 G in bf16
    assert least.total < 9 * 2**30
