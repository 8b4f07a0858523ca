"""What holds for a stage: its schedule, its own settings, the learning rates of its groups; and the shipped orders."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_stage import lines, make_run, settings_of
from pydantic import ValidationError

from anukul import configfile, pipeline
from anukul.config import LoraSettings, ModelSettings, RunConfig, Stage, TrainSettings, WorldSettings
from anukul.digests import hash_path
from anukul.model.adapter import add_adapter, trainable_parameters
from anukul.model.base import load_base
from anukul.model.shape import read_shape
from anukul.plan.disk import predict_disk
from anukul.plan.memory import trained_parameters
from anukul.rundir import read_json
from anukul.synth.world import WorldConfig, build
from anukul.train import loop, step
from anukul.train.optimizer import learning_rate_factor, make_optimizer, set_learning_rate
from anukul.train.pretrain import pretrain

CONFIGS = Path(__file__).parents[2] / "configs"


def factors(steps: int, **given: Any) -> list[float]:
    settings = settings_of(**given)
    held = settings.of(settings.stages[0])
    return [learning_rate_factor(i, steps, held) for i in range(steps)]


def test_cosine_is_what_it_was_to_the_bit() -> None:
    for steps, warmup_share, floor in ((100, 0.1, 0.1), (7, 0.03, 0.03), (1, 0.5, 0.0), (3, 0.9, 1.0)):
        warmup = max(1, round(steps * warmup_share))
        expected = [
            (i + 1) / warmup
            if i < warmup
            else floor
            + (1 - floor) * 0.5 * (1 + math.cos(math.pi * ((i - warmup + 1) / max(1, steps - warmup))))
            for i in range(steps)
        ]
        assert factors(steps, warmup_share=warmup_share, min_learning_rate_share=floor) == expected
    rates = factors(100, warmup_share=0.1)
    assert rates[0] == pytest.approx(0.1) and max(rates) == 1.0 == rates[9]
    assert rates[9:] == sorted(rates[9:], reverse=True) and rates[-1] == pytest.approx(0.1)  # the default


def test_constant_warms_up_and_stays() -> None:
    assert factors(10, schedule="constant", warmup_share=0.4) == [0.25, 0.5, 0.75, *[1.0] * 7]
    assert factors(1, schedule="constant") == [1.0]


def test_wsd_stays_and_falls_as_one_minus_a_root() -> None:
    rates = factors(100, schedule="wsd", warmup_share=0.1, decay_share=0.25, min_learning_rate_share=0.2)
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10:75] == [1.0] * 65
    assert rates[75:] == pytest.approx([0.2 + 0.8 * (1 - math.sqrt((i + 1) / 25)) for i in range(25)])
    assert rates[-1] == pytest.approx(0.2)
    # unsaid, it falls in the last fifth and to a tenth
    plain = factors(100, schedule="wsd")
    assert plain[79] == 1.0 > plain[80] and plain[-1] == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_wsd_of_few_steps(steps: int) -> None:
    rates = factors(steps, schedule="wsd", warmup_share=0.5, decay_share=0.5, min_learning_rate_share=0.1)
    assert len(rates) == steps and all(0 < rate <= 1 for rate in rates) and max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1 if steps > 1 else 1.0)  # of one step nothing is left to fall in


def settings(**given: Any) -> TrainSettings:
    stages = given.pop("stages", [{"name": "a", "format": "text"}, {"name": "b", "format": "text"}])
    return TrainSettings.model_validate({"stages": stages, "context": 64, "batch_tokens": 128, **given})


def second(**given: Any) -> list[dict[str, Any]]:
    return [{"name": "a", "format": "text"}, {"name": "b", "format": "text", **given}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"decay_share": 0.1}, "decay_share goes with `schedule: wsd`, not with cosine"),
        ({"stages": second(decay_share=0.1)}, "decay_share of stage 'b' goes with `schedule: wsd`"),
        (
            {"schedule": "wsd", "stages": second(schedule="constant", decay_share=0.1)},
            "decay_share of stage 'b' goes with `schedule: wsd`, not with constant",
        ),
        (
            {"schedule": "constant", "min_learning_rate_share": 0.1},
            "min_learning_rate_share: `schedule: constant`",
        ),
        (
            {"stages": second(schedule="constant", min_learning_rate_share=0.1)},
            "min_learning_rate_share of stage 'b': `schedule: constant` never falls",
        ),
        (
            {"schedule": "wsd", "warmup_share": 0.9},
            r"stage 'a': warmup_share \(0.9\) and decay_share \(0.2\)",
        ),
        ({"stages": second(batch_tokens=96)}, r"must divide batch_tokens of stage 'b' \(96\)"),
        ({"lora": {"learning_rate_ratio": 0.5}}, "learning_rate_ratio"),
        ({"lora": {"init": "pissa"}, "embeddings": "lora"}, "lora.init: pissa is for linear layers"),
        ({"lora": {"dora": True}, "embeddings": "lora"}, "lora.dora is for linear layers"),
        ({"lora": {"init": "pissa"}, "stages": second(weight_decay=0.1)}, "which weight_decay would shrink"),
        ({"schedule": "linear"}, "schedule"),
    ],
)
def test_what_no_step_would_read_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(**given)


def test_a_stage_has_its_own_settings_and_the_rest_of_all() -> None:
    own = {
        "learning_rate": 1e-3,
        "schedule": "wsd",
        "warmup_share": 0.2,
        "decay_share": 0.3,
        "min_learning_rate_share": 0.0,
        "weight_decay": 0.0,
        "batch_tokens": 192,
        "replay_share": 0.0,
    }
    given = settings(learning_rate=4e-3, embedding_learning_rate=1e-3, weight_decay=0.1, stages=second(**own))
    first, other = (given.of(stage) for stage in given.stages)
    assert {name: getattr(other, name) for name in own} == own
    assert other.embedding_learning_rate == pytest.approx(2.5e-4)  # the proportion is kept
    assert (first.learning_rate, first.embedding_learning_rate, first.weight_decay) == (4e-3, 1e-3, 0.1)
    assert (first.schedule, first.decay_share, first.min_learning_rate_share) == ("cosine", None, 0.1)
    assert (first.batch_tokens, first.replay_share, first.warmup_share) == (128, 0.1, 0.03)
    assert given.of(given.stages[1]).of(given.stages[1]) == other and first.of(given.stages[0]) == first
    # what goes to other processes and into the run folder says the same
    again = TrainSettings.model_validate_json(given.model_dump_json())
    assert again == given


def test_a_stage_stands_while_what_holds_for_it_does(tiny_base: Path, tmp_path: Path) -> None:
    def held(**given: Any) -> list[dict[str, Any]]:
        config = make_run(tmp_path, tiny_base, **given)
        assert config.train is not None
        return [pipeline._stage_settings(config, stage) for stage in config.train.stages]

    stages = second(learning_rate=1e-3, batch_tokens=512)
    before, after = held(stages=stages), held(stages=stages, learning_rate=2e-2, batch_tokens=1024)
    assert before[0] != after[0] and before[1] == after[1]  # the second has its own
    assert before[1] != held(stages=stages, embedding_learning_rate=1e-4)[1]
    assert before[0] == held(stages=second(learning_rate=2e-3))[0]


def groups(tiny_settings: ModelSettings, lora: dict[str, Any], **given: Any) -> list[dict[str, Any]]:
    loaded = load_base(tiny_settings)
    made = settings_of(lora=LoraSettings.model_validate({"rank": 4, "alpha": 8, **lora}), **given)
    add_adapter(loaded, made.lora, made.embeddings, 0)
    optimizer = make_optimizer(loaded, made.of(made.stages[0]))
    names = {id(parameter): name for name, parameter in trainable_parameters(loaded).items()}
    logged = set_learning_rate(optimizer, 0.5)
    assert logged == made.of(made.stages[0]).learning_rate / 2  # A's
    found = []
    for group in optimizer.param_groups:
        kinds = {name.split(".")[-3] for name in (names[id(p)] for p in group["params"])}
        found.append({**group, "kinds": kinds, "count": len(group["params"])})
    assert sum(group["count"] for group in found) == len(names)
    return found


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit", "paged_adamw_8bit"])
def test_every_group_has_its_learning_rate(tiny_settings: ModelSettings, name: str) -> None:
    found = groups(
        tiny_settings,
        {"learning_rate_ratio": 16, "dora": True},
        optimizer=name,
        weight_decay=0.1,
        embedding_learning_rate=3e-3,
        stages=(Stage(name="s", format="text", learning_rate=2e-2),),
    )
    a, b, magnitudes, embeddings = found
    assert (a["kinds"], b["kinds"]) == ({"lora_A"}, {"lora_B"}) and a["count"] == b["count"] == 14
    assert magnitudes["kinds"] == {"lora_magnitude_vector"} and embeddings["count"] == 1
    rates = [group["initial_lr"] for group in found]
    assert rates == pytest.approx([2e-2, 0.32, 2e-2, 6e-3])  # the stage's is twice the general one
    assert [group["lr"] for group in found] == pytest.approx([rate / 2 for rate in rates])
    assert [group["weight_decay"] for group in found] == [0.1, 0.1, 0.0, 0.1]


def test_without_variants_there_are_the_two_groups_of_before(tiny_settings: ModelSettings) -> None:
    found = groups(tiny_settings, {})
    assert [group["count"] for group in found] == [28, 1]
    assert [group["initial_lr"] for group in found] == [1e-2, 1e-3]
    assert len(groups(tiny_settings, {"learning_rate_ratio": 4}, embeddings="frozen")) == 2


OWN: dict[str, Any] = {
    "stages": [
        {"name": "translation", "format": "translation", "schedule": "wsd", "decay_share": 0.5},
        {"name": "text", "format": "text", "schedule": "constant", "batch_tokens": 512, "weight_decay": 0.1,
         "learning_rate": 2e-3, "warmup_share": 0.5, "replay_share": 0.0, "epochs": 4},
    ],
    "lora": {"rank": 4, "alpha": 8, "dropout": 0.1, "learning_rate_ratio": 4},
}  # fmt: skip


class KilledError(Exception):
    pass


def run_killed(config: RunConfig, root: Path, index: int, at: int, patch: pytest.MonkeyPatch) -> None:
    """Run a stage that dies before its step `at` (0-based), and again to its end."""
    one_step = loop._one_step

    def dying(training: loop.Training, number: int, batches: Any) -> Any:
        if number == at:
            raise KilledError
        return one_step(training, number, batches)

    with patch.context() as context:
        context.setattr(loop, "_one_step", dying)
        with pytest.raises(KilledError):
            step.run_stage(config, root, index)
    step.run_stage(config, root, index)


@pytest.mark.parametrize(
    "lora",
    [
        {"learning_rate_ratio": 4},
        {"init": "pissa", "dora": True, "rank_stabilized": True, "learning_rate_ratio": 2},
    ],
    ids=["lora+", "all"],
)
def test_stages_of_their_own_resume_to_the_same_bits(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lora: dict[str, Any]
) -> None:
    given = {**OWN, "lora": {"rank": 4, "alpha": 8, "dropout": 0.1, **lora}}
    if "init" in lora:
        given["stages"] = [{**stage, "weight_decay": 0.0} for stage in OWN["stages"]]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    config = make_run(whole, tiny_base, **given)
    assert config.train is not None
    shutil.copytree(whole / "synth", killed / "synth")
    shutil.copytree(whole / "corpus", killed / "corpus")
    for index, stage in enumerate(config.train.stages):
        rows = step.run_stage(config, whole, index).rows
        run_killed(config, killed, index, 3, monkeypatch)
        folders = [root / "train" / stage.name for root in (whole, killed)]
        assert hash_path(folders[0] / "adapter") == hash_path(folders[1] / "adapter")
        logged = lines(folders[0])
        assert [line["loss"] for line in logged] == [line["loss"] for line in lines(folders[1])]
        held = config.train.of(stage)
        expected = [
            held.learning_rate * learning_rate_factor(i, rows["steps"], held) for i in range(rows["steps"])
        ]
        assert [line["learning_rate"] for line in logged] == pytest.approx(expected) and rows["steps"] >= 4
        assert logged[-1]["loss"] < logged[0]["loss"] or index
    # the second stage's steps are twice as large, and it replays nothing
    first, second = (lines(whole / "train" / stage.name) for stage in config.train.stages)
    assert max(line["tokens"] for line in second) > 256 >= max(line["tokens"] for line in first)
    assert (
        sum(line["replay_loss_tokens"] for line in first)
        > 0
        == sum(line["replay_loss_tokens"] for line in second)
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded world, very small, with a base that has seen a few steps of it."""
    folder = tmp_path_factory.mktemp("world")
    small = WorldConfig(
        seed=3, people=30, base_bytes=30_000, replay_bytes=20_000, nepali_bytes=40_000, instructions=40,
        statements_per_fact_english=2, statements_per_fact_nepali=2, heldout_sentences=30, treebank_sentences=20,
        agreement_per_phenomenon=5, category_questions=10, reading_questions=10,
    )  # fmt: skip
    build(small, folder)
    texts = [
        json.loads(line)["text"] for line in (folder / "base_corpus.jsonl").read_text("utf-8").splitlines()
    ]
    tiny = WorldSettings(base_steps=8, base_hidden=64, base_layers=2, base_heads=2, base_vocabulary=500)
    pretrain(texts, [], tiny, folder / "base")
    return folder


def shipped(name: str, world: Path) -> RunConfig:
    """A shipped config with its order and its settings, on the world's files and with steps that take no time."""
    text = (CONFIGS / f"{name}.yaml").read_text("utf-8").replace("${ANUKUL_REAL_DATA:-data}", "none")
    given = yaml.safe_load(text)
    files = {
        "model": {"path": str(world / "base"), "quantization": "nf4"},
        "corpus": {
            "inputs": [{"path": str(world / "nepali.jsonl")}],
            "replay": [{"path": str(world / "replay.jsonl")}],
        },
        "synth": {"pairs": [{"source": str(world / "pairs.jsonl"), "origin": "synthetic"}]},
    }
    train = given["train"]
    del train["ledger"]
    train |= {"context": 256, "batch_tokens": 512, "log_steps": 1, "lora": {**train["lora"], "rank": 8}}
    for stage in train["stages"]:
        stage |= {"max_steps": 4} | ({"batch_tokens": 256} if "batch_tokens" in stage else {})
    if "vocabulary" in train:
        train["vocabulary"] = {"extend": 40}
    held = {key: given[key] for key in ("name", "language", "base_language", "seed", "train")}
    return RunConfig.model_validate({**held, **files})


@pytest.mark.parametrize(
    ("name", "order"),
    [("openhathi-like", ["translation", "bilingual"]), ("alma-like", ["text", "translation"])],
)
def test_the_shipped_orders_run_to_their_end(
    world: Path, tmp_path: Path, name: str, order: list[str]
) -> None:
    config = shipped(name, world)
    assert config.train is not None and [stage.format for stage in config.train.stages] == order
    pipeline.run_steps(config, "", tmp_path, ("corpus", "synth", "train"))
    rows = [read_json(tmp_path / "train" / stage / "done.json")["rows"] for stage in order]
    assert [row["steps"] for row in rows] == [4, 4]
    replayed = [row["replay_tokens"] / row["tokens"] for row in rows]
    asked = [config.train.of(stage).replay_share for stage in config.train.stages]
    assert replayed == pytest.approx(asked, abs=0.06) and [a > 0 for a in replayed] == [a > 0 for a in asked]
    assert len({hash_path(tmp_path / "train" / stage / "adapter") for stage in order}) == 2
    grown = tmp_path / "train" / order[1] / "adapter" / "vocabulary" / "vocabulary.json"
    assert grown.exists() == (name == "openhathi-like")
    for stage in config.train.stages:
        held = config.train.of(stage)
        logged = lines(tmp_path / "train" / stage.name)
        assert all(math.isfinite(line["loss"]) for line in logged)
        assert logged[-1]["learning_rate"] == pytest.approx(
            held.learning_rate * (held.min_learning_rate_share or 0)
        )


@pytest.mark.parametrize("name", ["openhathi-like", "alma-like"])
def test_the_shipped_orders_name_a_base_of_known_shape(name: str) -> None:
    config = configfile.load(CONFIGS / f"{name}.yaml")
    shape = read_shape(config.model)
    assert shape.parameters == 6_738_415_616 and not shape.tied  # of Llama 2 7B, as published
    assert config.train is not None and trained_parameters(config.train, shape) >= shape.lora_parameters(128)


def test_a_plan_counts_what_a_variant_trains_and_stores() -> None:
    shape = read_shape(ModelSettings(path="nowhere", shape="llama-2-7b"))
    plain, both = settings(), settings(lora={"rank": 128, "dora": True, "init": "pissa"})
    trained = trained_parameters(both, shape)
    assert trained - trained_parameters(plain, shape) == 32 * (5 * 4096 + 2 * 11008)  # a length for every row
    stored = predict_disk(both, trained, [5], start=shape.lora_parameters(128))
    assert stored.adapter == 4 * (trained + shape.lora_parameters(128))
