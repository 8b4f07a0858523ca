"""Local tasks as lm-eval's own: they load offline, give our prompts and our accuracy."""

import json
from pathlib import Path
from typing import Any

import pytest

from anukul.config import ModelSettings, TaskSettings
from anukul.errors import UserError
from anukul.evaluate.tasks.hub import FEWSHOT_SEED, Harness, as_loaded, load_harness, load_written
from anukul.evaluate.tasks.lm_eval_files import write_tasks
from anukul.evaluate.tasks.run import own_variant, score_variants, variants_of
from anukul.items.load import LoadedTask, load_task
from anukul.model.base import load_base
from anukul.scoring.harness import AnukulLM
from anukul.scoring.scorer import Scorer

WORDS = ["rice", "maize", "tea", "a book", "school", "the river", "village", "children"]
NEPALI = ["भात", "मकै", "चिया", "किताब"]
ROWS: dict[str, list[dict[str, Any]]] = {
    "questions": [
        {
            "query": f"Ram likes {word}. सीतालाई",
            "choices": [word, "xx", NEPALI[n % 4], WORDS[n - 1]],
            "gold": n % 4,
        }
        for n, word in enumerate(WORDS)
    ],
    "schema": [
        {
            "context_options": [f"Ram ate {w} and he", f"Sita saw {w} and she"],
            "continuation": "left.",
            "gold": n % 2,
        }
        for n, w in enumerate(WORDS)
    ],
    "cloze": [{"context": f"The {word} and the", "continuation": word} for word in WORDS],
    "pairs": [
        {"good": f"I see {word}.", "bad": f"I sees {word}.", "phenomenon": "pq"[n % 2]}
        for n, word in enumerate(WORDS)
    ],
}


def task_of(folder: Path, name: str, rows: list[dict[str, Any]], **settings: Any) -> LoadedTask:
    path = folder / f"{name}.in.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return load_task(TaskSettings(name=name, path=str(path), language="eng_Latn", **settings))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, LoadedTask], Path]:
    source, folder = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("lm_eval")
    tasks = {name: task_of(source, name, rows) for name, rows in ROWS.items()}
    assert write_tasks(tasks.values(), folder) == {name: [f"anukul_{name}"] for name in ROWS}
    return tasks, folder


@pytest.fixture(scope="module")
def lm(tiny_base: Path) -> AnukulLM:
    settings = ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32")
    return AnukulLM(Scorer(load_base(settings), 512))


def test_lm_eval_loads_them_offline_and_finds_our_accuracy(
    written: tuple[dict[str, LoadedTask], Path], lm: AnukulLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    from lm_eval.api.task import ConfigurableTask
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    def no_network(*_: Any) -> Any:
        raise AssertionError("no network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    tasks, folder = written
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    loaded = manager.load([f"anukul_{name}" for name in ROWS])
    assert all(type(task) is ConfigurableTask for task in loaded["tasks"].values())
    theirs = evaluate(lm, loaded, bootstrap_iters=0)["results"]
    for name, task in tasks.items():
        items = score_variants(lm, variants_of(task, [0], [0]), "base")
        ours = [item.correct for item in items]
        assert theirs[f"anukul_{name}"]["acc,none"] == pytest.approx(sum(ours) / len(ours))
        assert len(ours) == theirs[f"anukul_{name}"]["sample_len"] == 8


def test_the_written_folder_may_be_moved(written: tuple[dict[str, LoadedTask], Path], tmp_path: Path) -> None:
    _, folder = written
    assert str(folder) not in "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.*"))
    moved = folder.rename(tmp_path / "moved")
    found = load_written(TaskSettings(name="t", path="x", language="eng_Latn"), "anukul_cloze", moved)
    assert len(list(found.documents())) == 8
    moved.rename(folder)


def test_their_prompts_at_no_shots_are_ours(written: tuple[dict[str, LoadedTask], Path]) -> None:
    tasks, folder = written
    for name, task in tasks.items():
        theirs = own_variant(load_written(task.settings, f"anukul_{name}", folder), f"anukul_{name}")
        ours = variants_of(task, [0], [0])[0]
        assert [theirs.pairs(n) for n in range(8)] == [ours.pairs(n) for n in range(8)]
        assert [item.id for item in theirs.task.items] == [item.id for item in task.items]
        assert (theirs.shots, theirs.seed) == (0, FEWSHOT_SEED)


@pytest.mark.parametrize("name", ["questions", "schema", "cloze"])
def test_their_draw_is_lm_evals_own_and_the_same_each_time(
    name: str, written: tuple[dict[str, LoadedTask], Path], lm: AnukulLM
) -> None:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    tasks, folder = written
    settings = tasks[name].settings.model_copy(update={"shots": "lm-eval", "num_fewshot": 2})
    harness = load_written(settings, f"anukul_{name}", folder)
    first, second = own_variant(harness, name), own_variant(harness, name)
    assert first.written == second.written
    assert first.shots == 2
    result = simple_evaluate(
        lm,
        tasks=[f"anukul_{name}"],
        num_fewshot=2,
        bootstrap_iters=0,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
    )
    samples = sorted(result["samples"][f"anukul_{name}"], key=lambda sample: int(sample["doc_id"]))
    theirs = [[tuple(pair) for pair in sample["arguments"]] for sample in samples]
    assert [first.pairs(n) for n in range(8)] == theirs
    items = score_variants(lm, [first], "base")
    assert [item.correct for item in items] == [sample["acc"] for sample in samples]
    if name == "questions":
        assert [item.correct_norm for item in items] == [sample["acc_norm"] for sample in samples]


def test_our_exemplars_stand_in_the_tasks_own_format(written: tuple[dict[str, LoadedTask], Path]) -> None:
    tasks, folder = written
    harness = load_written(tasks["questions"].settings, "anukul_questions", folder)
    loaded = as_loaded(harness)
    assert [item.contexts for item in loaded.items] == [item.contexts for item in tasks["questions"].items]
    assert [item.gold for item in loaded.items] == [item.gold for item in tasks["questions"].items]
    assert [item.id for item in loaded.pool] == [str(n) for n in range(8)]
    zero, two = variants_of(loaded, [0, 2], [0])
    assert two.pairs(0)[0][0].endswith(zero.pairs(0)[0][0])
    assert two.pairs(0)[0][0].count("\n\n") == 2


def test_exemplars_of_a_file_and_rows_beyond_the_limit_are_the_pool(tmp_path: Path) -> None:
    task = task_of(tmp_path, "few", ROWS["questions"], limit=3)
    write_tasks([task], tmp_path / "out")
    lines = {
        file.name: len(file.read_text(encoding="utf-8").splitlines())
        for file in (tmp_path / "out").glob("*.jsonl")
    }
    assert lines == {"few.jsonl": 3, "few.exemplars.jsonl": 5}
    settings = task.settings.model_copy(update={"shots": "lm-eval", "num_fewshot": 5})
    variant = own_variant(load_written(settings, "anukul_few", tmp_path / "out"), "anukul_few")
    assert all(
        task.items[n].contexts[0] not in variant.pairs(n)[0][0].rpartition("\n\n")[0] for n in range(3)
    )
    settings = settings.model_copy(update={"num_fewshot": 6})
    with pytest.raises(UserError, match="task 'few': 6 exemplars cannot be drawn"):
        own_variant(load_written(settings, "anukul_few", tmp_path / "out"), "anukul_few")


def test_rows_of_different_shapes_are_different_tasks(tmp_path: Path) -> None:
    task = task_of(tmp_path, "a-b.c", [*ROWS["questions"][:2], *ROWS["cloze"][:3]])
    assert write_tasks([task], tmp_path / "out") == {"a-b.c": ["anukul_a_b_c_choices", "anukul_a_b_c_cloze"]}
    found = load_written(task.settings, "anukul_a_b_c_cloze", tmp_path / "out")
    assert (found.output_type, len(list(found.documents()))) == ("loglikelihood", 3)


def test_names_and_data_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import lm_eval
    from lm_eval.tasks import TaskManager

    from anukul.evaluate.tasks import hub as hub_tasks

    # The index of all tasks takes seconds to build; one folder of it is the real thing too.
    folder = Path(str(lm_eval.__file__)).parent / "tasks" / "belebele"
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    monkeypatch.setattr(hub_tasks, "_manager", lambda _: manager)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    settings = TaskSettings(name="read", harness="belebele_npi_Dev", language="npi_Deva")
    with pytest.raises(UserError, match=r"task 'read': .* did you mean belebele_npi_Deva"):
        load_harness(settings)
    with pytest.raises(UserError, match="task 'read': lm-eval's task 'belebele_npi_Deva' cannot") as error:
        load_harness(settings.model_copy(update={"harness": "belebele_npi_Deva"}))
    assert "\n" not in str(error.value)
    assert "network" in str(error.value)


def harness_of(config: dict[str, Any], rows: list[dict[str, Any]], **settings: Any) -> Harness:
    """A task of lm-eval's whose data is in memory, as one by name is once its data has come."""
    import datasets
    from lm_eval.api.task import ConfigurableTask

    held = {"test": datasets.Dataset.from_list(rows)}
    task = ConfigurableTask(
        config={"task": "t", "custom_dataset": lambda **_: held, "test_split": "test", **config}
    )
    asked = TaskSettings(name="t", harness="t", language="eng_Latn", **settings)
    return Harness(asked, {"t": task})


def test_passages_are_clusters_and_the_description_stands_first() -> None:
    rows = [
        {"passage": f"P{n // 2}", "question": f"Q{n}", "answers": ["yes", "no"], "label": n % 2}
        for n in range(4)
    ]
    config = {
        "output_type": "multiple_choice",
        "description": "Read.\n\n",
        "doc_to_text": "{{passage}} {{question}}",
        "doc_to_choice": "answers",
        "doc_to_target": "label",
    }
    harness = harness_of(config, rows, limit=3)
    loaded = as_loaded(harness)
    assert [item.cluster for item in loaded.items] == ["P0", "P0", "P1"]
    assert variants_of(loaded, [0], [0])[0].pairs(1) == [
        ("Read.\n\nP0 Q1", " yes"),
        ("Read.\n\nP0 Q1", " no"),
    ]
    theirs = own_variant(harness, "t")
    assert theirs.pairs(1) == variants_of(loaded, [0], [0])[0].pairs(1)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"output_type": "generate_until"}, "answers to lm-eval's 't' are generated; set `shots: lm-eval`"),
        ({"output_type": "loglikelihood_rolling"}, "is of type loglikelihood_rolling.*use bits_per_byte"),
        (
            {"output_type": "multiple_choice", "doc_to_choice": "{{['a', 'b']}}", "process_results": max},
            "by code of its own",
        ),
        (
            {"output_type": "multiple_choice", "doc_to_choice": "{{['a', 'b']}}", "doc_to_target": "c"},
            "no single right",
        ),
        (
            {"output_type": "multiple_choice", "doc_to_choice": "{{['a', 'b']}}", "gen_prefix": "So"},
            "prefix of the answer",
        ),
    ],
)
def test_types_that_cannot_be_scored_are_told(config: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        as_loaded(harness_of({"doc_to_text": "q", "doc_to_target": "a", **config}, [{"q": "x", "a": "y"}]))


def test_answers_may_be_generated(lm: AnukulLM) -> None:
    from anukul.evaluate.tasks.run import score_generated

    config = {
        "output_type": "generate_until",
        "doc_to_text": "q",
        "doc_to_target": "a",
        "num_fewshot": 1,
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    rows = [{"q": f"Ram eats {word}", "a": word} for word in WORDS[:3]]
    harness = harness_of(config, rows, shots="lm-eval")
    first = score_generated(lm, harness, "base")
    assert [(item.shots, item.seed, item.correct) for item in first] == [(1, FEWSHOT_SEED, 0.0)] * 3
    from lm_eval.api.instance import Instance

    prompt = harness.tasks["t"].fewshot_context(rows[0], num_fewshot=0)
    request = Instance("generate_until", {}, (prompt, config["generation_kwargs"]), 0)
    said = lm.generate_until([request])[0]
    right = harness_of(
        {**config, "num_fewshot": 0}, [{"q": rows[0]["q"], "a": said}, *rows[1:]], shots="lm-eval"
    )
    assert score_generated(lm, right, "base")[0].correct == 1.0
    pairs_metric = {"metric": "bleu", "aggregation": "bleu", "higher_is_better": True}
    with pytest.raises(UserError, match="its metric 'bleu' is no share from 0 to 1"):
        score_generated(
            lm, harness_of({**config, "metric_list": [pairs_metric]}, rows, shots="lm-eval"), "base"
        )
    config["generation_kwargs"] = {"until": ["\n"], "max_gen_toks": 4000}
    with pytest.raises(UserError, match="generates up to 4000 tokens"):
        score_generated(lm, harness_of(config, rows, shots="lm-eval"), "base")


def test_tasks_by_name_are_gathered_with_our_exemplars_and_with_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As it is once the data has come: only the fetching is left out."""
    from anukul.config import EvaluateSettings, RunConfig
    from anukul.evaluate import gather as gather_module

    rows = [{"q": f"Q{n}", "a": ["yes", "no"], "label": n % 2} for n in range(5)]
    config = {
        "output_type": "multiple_choice",
        "doc_to_text": "q",
        "doc_to_choice": "a",
        "doc_to_target": "label",
        "num_fewshot": 3,
    }

    def load(settings: TaskSettings, weakness: str) -> Harness:
        found = harness_of(config, rows)
        return Harness(settings, found.tasks, weakness)

    monkeypatch.setattr(gather_module, "load_harness", load)
    tasks = (
        TaskSettings(name="ours", harness="arc_easy", language="eng_Latn"),
        TaskSettings(name="theirs", harness="arc_easy", language="eng_Latn", shots="lm-eval"),
    )
    settings = EvaluateSettings(shots=(0, 2), tasks=tasks)
    run = RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="x"), evaluate=settings)
    found = gather_module.gather(run, settings, tmp_path)
    assert [(variant.task.settings.name, variant.shots) for variant in found.variants] == [
        ("ours", 0),
        ("ours", 2),
        ("theirs", 3),
    ]
    assert [source["source"].partition(": ")[2][:15] for source in found.sources] == ["arc_easy, items"] * 2
    assert all(source["weakness"] for source in found.sources)
    assert not found.is_empty and found.outputs == []
