"""A stage trains what it was told to, whatever process it is in, however its steps are computed and where it stops."""

import shutil
import tracemalloc
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from made_stage import (
    ENGLISH,
    NEPALI,
    lines,
    make_run,
    pair,
    settings_of,
    texts,
    with_adapter,
)
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from anukul.config import LoraSettings, ModelSettings, TrainSettings
from anukul.digests import hash_path
from anukul.errors import UserError
from anukul.model.adapter import add_adapter, load_adapter, save_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.build import build_llama, save_base
from anukul.model.documents import packed_attention
from anukul.model.loaded import Loaded
from anukul.train import loop, step
from anukul.train.audit import Findings, audit
from anukul.train.distributed import ALONE
from anukul.train.formats import Formatter
from anukul.train.loss import token_losses
from anukul.train.optimizer import make_optimizer, set_learning_rate
from anukul.train.packing import collate
from anukul.train.plan import StagePlan
from anukul.train.prefetch import prefetched

CPU = torch.device("cpu")


@pytest.fixture
def bases(tiny_base: Path, tmp_path: Path) -> dict[bool, ModelSettings]:
    """The tiny base as bases are published, in bf16: by whether its embeddings are tied."""
    found = {}
    tokenizer = load_base(ModelSettings(path=str(tiny_base))).tokenizer
    for tied in (True, False):
        model = build_llama(len(tokenizer), 64, 2, 4, seed=1, key_value_heads=2, max_positions=512, tied=tied)
        save_base(model.bfloat16(), tokenizer, tmp_path / f"base-{tied}")
        found[tied] = ModelSettings(path=str(tmp_path / f"base-{tied}"))
    return found


class KilledError(Exception):
    pass


def run_killed(monkeypatch: pytest.MonkeyPatch, number: int, *given: Any) -> None:
    """Run a stage that dies before its step `number` (0-based)."""
    one_step = loop._one_step

    def dying(training: loop.Training, at: int, *more: Any) -> Any:
        if at == number:
            raise KilledError
        return one_step(training, at, *more)

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(loop, "_one_step", dying)
        step.run_stage(*given)


@pytest.mark.parametrize("stored", ["bfloat16", "float32"])
def test_a_resume_amid_accumulated_steps_is_exact(
    bases: dict[bool, ModelSettings],
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stored: str,
) -> None:
    """Three micro-batches a step, dropout, embeddings, two and a half epochs: the data go on where they were."""
    more = {
        "batch_tokens": 768,
        "micro_batch_tokens": 256,
        "stages": [{"name": "translation", "format": "translation", "epochs": 2.5}],
    }
    base = Path(bases[False].path) if stored == "bfloat16" else tiny_base
    roots = [tmp_path / name for name in ("whole", "killed")]
    configs = [make_run(root, base, **more) for root in roots]
    whole = step.run_stage(configs[0], roots[0], 0)
    run_killed(monkeypatch, 3, configs[1], roots[1], 0)
    assert [path.name for path in (roots[1] / "train/translation").glob("step-*")] == ["step-000002"]
    assert step.run_stage(configs[1], roots[1], 0).rows == whole.rows and whole.rows["steps"] > 4
    folders = [root / "train/translation" for root in roots]
    logged = [[(n["step"], n["tokens"], n["loss"]) for n in lines(folder)] for folder in folders]
    assert logged[0] == logged[1] and len({tokens for _, tokens, _ in logged[0]}) > 2
    assert hash_path(folders[0] / "adapter") == hash_path(folders[1] / "adapter")


def test_a_stage_does_not_depend_on_what_the_process_did_before(tiny_base: Path, tmp_path: Path) -> None:
    """A run that is stopped between two stages goes on in a process whose random state is another."""
    config = make_run(tmp_path / "whole", tiny_base)
    assert config.train is not None and config.train.lora.dropout > 0
    step.run_stage(config, tmp_path / "whole", 0)
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for name, seed in (("whole", 1), ("again", 2)):
        torch.manual_seed(seed)
        step.run_stage(config, tmp_path / name, 1)
    adapters = [hash_path(tmp_path / name / "train/bilingual/adapter") for name in ("whole", "again")]
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", ["lora", "full"])
def test_what_was_trained_on_a_half_precision_base_comes_back_in_full_precision(
    bases: dict[bool, ModelSettings], tmp_path: Path, embeddings: str, tied: bool
) -> None:
    loaded = with_adapter(bases[tied], embeddings=embeddings)
    generator = torch.Generator().manual_seed(0)
    trained = trainable_parameters(loaded)
    for parameter in trained.values():
        parameter.data += 1e-5 * torch.randn(parameter.shape, generator=generator)
    save_adapter(loaded, tmp_path / "adapter")
    again = load_base(bases[tied])
    load_adapter(again, tmp_path / "adapter", trainable=True)
    found = trainable_parameters(again)
    assert found.keys() == trained.keys() and any("embed_tokens" in name for name in found)
    assert {parameter.dtype for parameter in found.values()} == {torch.float32}
    assert all(torch.equal(parameter, trained[name]) for name, parameter in found.items())


def gradients_of(loaded: Loaded, settings: TrainSettings) -> torch.optim.Optimizer:
    """One backward pass, its gradients in place; return the optimizer of the first stage."""
    optimizer = make_optimizer(loaded, settings.of(settings.stages[0]))
    set_learning_rate(optimizer, 1.0)
    batch = collate([[0, 1], [2, 3]], texts(loaded, [*ENGLISH, *NEPALI]), 128, 2, CPU)
    loaded.model.train()
    with loaded.autocast(), packed_attention(loaded):
        token_losses(loaded, batch).mean().backward()
    return optimizer


def test_weights_gradients_and_moments_are_fp32_and_the_rest_is_computed_in_bf16(
    bases: dict[bool, ModelSettings],
) -> None:
    loaded = with_adapter(bases[False], embeddings="full")
    kinds: set[torch.dtype] = set()
    for layer in loaded.causal_lm.get_decoder().layers:
        layer.mlp.down_proj.register_forward_hook(lambda _, __, output: kinds.add(output.dtype))
    optimizer = gradients_of(loaded, settings_of())
    trained = trainable_parameters(loaded).values()
    held = [tensor for p in trained for tensor in (p, p.grad)]
    optimizer.step()
    held += [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert len(held) == 4 * len(trained) and kinds == {torch.bfloat16}
    assert {tensor.dtype for tensor in held if tensor is not None} == {torch.float32}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embeddings", ["lora", "full"])
@pytest.mark.parametrize("override", [None, 5e-3])
def test_embeddings_move_by_their_own_rate(
    bases: dict[bool, ModelSettings], embeddings: Literal["lora", "full"], tied: bool, override: float | None
) -> None:
    """AdamW's first update moves a weight by the rate itself, whatever its gradient."""
    loaded = with_adapter(bases[tied], embeddings=embeddings)
    settings = settings_of(learning_rate=1e-2, embedding_learning_rate=2e-3, embeddings=embeddings)
    stage = settings.stages[0].model_copy(update={"learning_rate": override})
    settings = settings.model_copy(update={"stages": (stage,)})
    optimizer = gradients_of(loaded, settings)
    before = {name: parameter.detach().clone() for name, parameter in trainable_parameters(loaded).items()}
    optimizer.step()
    moved = {
        name: float((parameter.detach() - before[name]).abs().max())
        for name, parameter in trainable_parameters(loaded).items()
    }
    ends = {name: far for name, far in moved.items() if "embed_tokens" in name or "lm_head" in name}
    others = [
        far for name, far in moved.items() if name not in ends and far > 0
    ]  # A stands still while B is zero
    rate = override or 1e-2
    assert others == pytest.approx([rate] * (2 * 7), rel=1e-3)
    pairs = (1 if tied else 2) * (2 if embeddings == "lora" else 1)
    assert len(ends) == pairs
    assert [far for far in ends.values() if far > 0] == pytest.approx(
        [rate / 5] * (1 if tied else 2), rel=1e-3
    )


@pytest.mark.parametrize("micro", [64, 128])
def test_micro_batches_change_neither_losses_nor_weights(
    tiny_settings: ModelSettings, tmp_path: Path, micro: int
) -> None:
    """Rows of very unequal numbers of learnt tokens, so that a mean of means would be another loss."""
    found = []
    for size in (256, micro):
        loaded = with_adapter(tiny_settings)
        settings = settings_of(batch_tokens=256, micro_batch_tokens=size)
        examples = texts(loaded, [*NEPALI, *(line[:4] for line in ENGLISH)])
        order = [[0], [4], [1], [5], [6], [2], [7], [3]] * 2
        plan = StagePlan(examples, order, 4, 0)
        folder = tmp_path / str(size)
        loop.train_stage(loaded, plan, settings, settings.stages[0], folder, save_adapter)
        found.append(([n["loss"] for n in lines(folder)], dict(trainable_parameters(loaded))))
    assert len(found[0][0]) == 4 and found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    assert all(torch.allclose(p, found[1][1][name], atol=1e-4) for name, p in found[0][1].items())


class Asked(TorchDispatchMode):
    """Which operations in the block make the host wait for a number of the device."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique", "unique")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.count = 0

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function._schema.name.removeprefix("aten::")
        indices = tree_leaves(args[1]) if name == "index" else []
        picked = any(isinstance(index, Tensor) and index.dtype == torch.bool for index in indices)
        if name.startswith(self.NAMES) or picked:
            self.found.append(name)
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_a_step_asks_the_device_for_no_number(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    """On the CPU every such question is seen; on a GPU each would make the host wait for all that was asked before."""
    loaded = with_adapter(tiny_settings, dropout=0.1)
    settings = settings_of(batch_tokens=128)
    plan = StagePlan(texts(loaded, [*ENGLISH, *NEPALI]), [[i] for i in range(8)], 2, 0)
    stage = settings.stages[0]
    training = loop._prepare(loaded, plan, settings.of(stage), stage, tmp_path, ALONE)
    with packed_attention(loaded), prefetched(loop._batches(training, 0)) as batches:
        loop._one_step(training, 0, batches)
        with Asked() as asked:
            loop._one_step(training, 1, batches)
    assert asked.count > 500 and asked.found == []


def findings(loaded: Loaded, folder: Path) -> Findings:
    settings = settings_of()
    settings = settings.of(settings.stages[0])
    examples = texts(loaded, [*ENGLISH, *NEPALI])
    batch = collate([[0, 1], [2, 3]], examples, 128, 2, CPU)
    loaded.model.train()

    def make() -> torch.optim.Optimizer:
        return make_optimizer(loaded, settings)

    with packed_attention(loaded):
        return audit(loaded, settings, batch, examples, make, folder)


@pytest.mark.parametrize("tied", [True, False])
def test_the_audit_names_the_tensors_that_are_one(
    bases: dict[bool, ModelSettings], tmp_path: Path, tied: bool
) -> None:
    found = findings(with_adapter(bases[tied]), tmp_path)
    ends = [{part for name in group for part in name.split(".")} for group in found.tied]
    assert len(ends) == (2 if tied else 0)  # the base's own pair, and that which is trained
    assert all({"embed_tokens", "lm_head"} <= group for group in ends)


def test_a_gradient_that_is_no_number_fails_the_audit(tiny_settings: ModelSettings, tmp_path: Path) -> None:
    loaded = with_adapter(tiny_settings)
    layer = loaded.causal_lm.get_decoder().layers[1].mlp.up_proj
    layer.lora_B["default"].weight.register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(UserError, match=r"layers\.1\.mlp\.up_proj"):
        findings(loaded, tmp_path)


def test_a_context_longer_than_the_base_was_made_for_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    config = make_run(tmp_path, tiny_base, context=1024, batch_tokens=1024)
    with pytest.raises(UserError, match=r"train\.context: 1,?024.*512"):
        step.run_stage(config, tmp_path, 0)


def test_tokenizing_a_stage_needs_little_more_memory_than_its_arrays(
    tiny_settings: ModelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_base(tiny_settings)
    formatter = Formatter(loaded.tokenizer, loaded.prefix_id, "npi_Deva", "eng_Latn")
    rows = [formatter.translation(pair(i, 4)) for i in range(4000)]
    monkeypatch.setattr("anukul.train.formats.PORTION", 250)
    tracemalloc.start()
    examples = formatter.encode(rows)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tokens = sum(len(example.ids) for example in examples)
    assert tokens > 300_000 and peak - held < 10 * tokens  # ids as Python numbers take several times as much


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # raised and left within dynamo
def test_compiled_layers_train_the_same(
    tiny_settings: ModelSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the backend that traces and does not generate code: what is fast is not asked here."""
    graphs: list[int] = []
    whole = torch.compile

    def traced(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(len(inputs))
        return graph.forward

    def traced_compile(*given: Any, **more: Any) -> Any:
        return whole(*given, **more, backend=traced)

    monkeypatch.setattr(torch, "compile", traced_compile)
    found = []
    for compiled in (False, True):
        loaded = load_base(tiny_settings)
        add_adapter(loaded, LoraSettings(rank=4, alpha=8), "full", 0)
        settings = settings_of(compile=compiled, batch_tokens=128)
        plan = StagePlan(texts(loaded, [*ENGLISH, *NEPALI]), [[i] for i in range(8)], 2, 0)
        folder = tmp_path / str(compiled)
        loop.train_stage(loaded, plan, settings, settings.stages[0], folder, save_adapter)
        found.append([line["loss"] for line in lines(folder)])
        assert bool(graphs) == compiled
    assert len(found[0]) == 4 and found[0] == pytest.approx(found[1], abs=1e-5)
