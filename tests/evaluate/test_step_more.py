"""The step with minimal pairs as a task, lm-eval's prompts, translation and the corpus probe, killed and resumed."""

import json
from pathlib import Path
from typing import Any

import pytest

from anukul.config import (
    CorpusProbeSettings,
    CorpusSettings,
    EvaluateSettings,
    LoraSettings,
    ModelSettings,
    RunConfig,
    Stage,
    TaskSettings,
    TextInput,
    TrainSettings,
    TranslationSettings,
)
from anukul.errors import UserError
from anukul.evaluate.step import run
from anukul.model.adapter import add_adapter, save_adapter
from anukul.model.base import load_base
from anukul.records import Document, Flip, Item, Translation, read_rows, write_rows
from anukul.report.loadmore import load_more
from anukul.scoring import harness as harness_module

WORDS = ["rice", "maize", "tea", "a book", "school", "the river"]
HELD = "संसारको अग्लो हिमाल सगरमाथाको उचाइ ८८४८ मिटर मानिन्छ।"
CORPUS = [
    "सगरमाथाको उचाइ ८८४८ मिटर रहेको हिमाल आरोहीले नापे।",
    *(f"त्यस बजेटमा {n} रुपैयाँ थियो।" for n in ("३४५६", "२१२३", "५६७८")),
]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> RunConfig:
    data = tmp_path_factory.mktemp("data")
    questions = [
        {"query": f"Ram likes {word}. Sita likes", "choices": [word, "xx"], "gold": n % 2}
        for n, word in enumerate(WORDS)
    ]
    pairs = [
        {"good": f"I see {word}.", "bad": f"I sees {word}.", "phenomenon": "pq"[n % 2]}
        for n, word in enumerate(WORDS)
    ]
    facts = [
        {
            "id": f"f{n}",
            "subject": {"eng_Latn": "Ram", "npi_Deva": "राम"},
            "object": {"eng_Latn": word, "npi_Deva": "भात"},
            "distractors": [{"eng_Latn": "xx", "npi_Deva": "मकै"}],
            "statement": {"eng_Latn": f"Ram likes {word}.", "npi_Deva": "भात रामलाई मन पर्छ।"},
            "stated_in": [["npi_Deva"], ["eng_Latn"], []][n % 3],
        }
        for n, word in enumerate(WORDS)
    ]
    (data / "en").write_text("\n".join(f"I see {word}." for word in WORDS), encoding="utf-8")
    (data / "ne").write_text("\n".join(["म भात देख्छु।"] * len(WORDS)), encoding="utf-8")
    (data / "held.txt").write_text(HELD + "\n", encoding="utf-8")
    path = write_jsonl(data / "questions.jsonl", questions)
    tasks = (
        TaskSettings(name="ours", path=path, language="eng_Latn"),
        TaskSettings(name="theirs", path=path, language="eng_Latn", shots="lm-eval", num_fewshot=1),
        TaskSettings(name="pairs", path=write_jsonl(data / "pairs.jsonl", pairs), language="npi_Deva"),
    )
    return RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path=str(tiny_base), quantization="none", compute_dtype="float32"),
        corpus=CorpusSettings(inputs=(TextInput(path="x"),)),
        train=TrainSettings(stages=(Stage(name="last", format="text"),)),
        evaluate=EvaluateSettings(
            shots=(0, 1),
            tasks=tasks,
            knowledge=write_jsonl(data / "facts.jsonl", facts),
            translation=TranslationSettings(
                source=str(data / "en"), target=str(data / "ne"), shots=(0, 1), limit=4, max_new_tokens=6
            ),
            corpus_probe=CorpusProbeSettings(text=str(data / "held.txt")),
            bootstrap=100,
            token_budget=256,
        ),
    )


def make_root(config: RunConfig, root: Path) -> None:
    import torch

    documents = [Document(str(n), text, "npi_Deva", "s", "l", []) for n, text in enumerate(CORPUS)]
    write_rows(root / "corpus" / "documents.parquet", documents, Document)
    loaded = load_base(config.model)
    add_adapter(loaded, LoraSettings(rank=4, alpha=8), "frozen", seed=0)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in loaded.model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    save_adapter(loaded, root / "train" / "last" / "adapter")


@pytest.fixture(scope="module")
def finished(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    make_root(config, root)
    result = run(config, root)
    assert (result.rows["translations"], result.rows["items"]) == (2 * 2 * 2 * 4, 2 * (12 + 6 + 6 + 24 + 1))
    assert sorted(result.outputs) == sorted(
        str(file.relative_to(root / "evaluate")) for file in (root / "evaluate").rglob("*") if file.is_file()
    )
    return root


def test_everything_stands_in_items_and_scores(finished: Path) -> None:
    folder = finished / "evaluate"
    items = read_rows(folder / "items.parquet", Item)
    tasks = {(item.kind, item.task, item.shots) for item in items}
    assert tasks == {
        ("multiple_choice", "ours", 0),
        ("multiple_choice", "ours", 1),
        ("multiple_choice", "theirs", 1),
        ("agreement", "pairs", 0),
        ("knowledge", "knowledge", 0),
        ("cloze", "knowledge-cloze", 0),
        ("cloze", "corpus-probe", 0),
    }
    report = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert [row["task"] for row in report["tasks"]] == ["ours", "theirs", "pairs"]
    assert {row["phenomenon"] for row in report["scores"] if row["task"] == "pairs"} == {"all", "p", "q"}
    aspects = {(row["aspect"], row["form"]) for row in report["knowledge"]["aspects"]}
    named = ("acquisition", "retention", "transfer", "chance")
    assert aspects == {(aspect, form) for aspect in named for form in ("ranking", "cloze")}
    assert report["knowledge"]["object_first"] == 6
    sizes = {name: family["comparisons"] for name, family in report["families"].items()}
    kept = report["knowledge"]["kept_facts"]
    assert len(kept) == 8 and all(row["right"] + row["wrong"] == row["n"] for row in kept)
    assert {(row["facts"], row["n"]) for row in kept} == {("all", 6), ("not_in_target_texts", 4)}
    assert sizes["knowledge"] == 12 and sizes["translation"] == 4
    assert sizes["kept_facts"] == sum(row["q"] is not None for row in kept)
    assert report["corpus_probe"]["by_kind"] == {"number": 1}
    assert [(row["direction"], row["shots"], row["n"]) for row in report["translation"]] == [
        ("to_target", 0, 4),
        ("to_target", 1, 4),
        ("to_base", 0, 4),
        ("to_base", 1, 4),
    ]
    rows = read_rows(folder / "translations.parquet", Translation)
    assert [row.line for row in rows if row.model == "base"] == [
        row.line for row in rows if row.model == "adapted"
    ]
    assert all(flip.choices for flip in read_rows(folder / "flips.parquet", Flip))


def test_killed_in_a_translation_and_resumed_gives_the_same_bytes(
    config: RunConfig, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train", "corpus"):
        (tmp_path / name).symlink_to(finished / name)
    real = harness_module.generate_greedy
    left = [1]

    def killed(*arguments: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return real(*arguments)

    monkeypatch.setattr(harness_module, "generate_greedy", killed)
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path)
    lines = (tmp_path / "evaluate" / "cache" / "batches.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(isinstance(json.loads(line)[1][0][0], str) for line in lines) == 1  # the rest are scores
    left[0] = 1  # the other model's batch is all that is left
    result = run(config, tmp_path)
    assert left[0] == 0
    for name in result.outputs:
        assert (tmp_path / "evaluate" / name).read_bytes() == (finished / "evaluate" / name).read_bytes()


def test_the_report_reads_what_was_written(config: RunConfig, finished: Path) -> None:
    from anukul.report import load
    from anukul.report.blocks import Prose, Table
    from anukul.report.sections import more

    found = load_more(finished)
    assert found is not None and len(found.aspects) == 12 and len(found.translations) == 4
    (finished / "evaluate" / "done.json").write_text("{}", encoding="utf-8")
    data = load.load_run(config, finished)
    (finished / "evaluate" / "done.json").unlink()
    section = more.section(data)
    assert section is not None
    tables = [block for block in section.blocks if isinstance(block, Table)]
    assert [len(table.rows) for table in tables] == [12, 8, 4, 2]
    names = ("family “knowledge” of 12 tests", "“kept facts”", "family “translation” of 4 tests", "“scores”")
    assert all(name in table.source for name, table in zip(names, tables, strict=True))
    said = " ".join(block.text for block in section.blocks if isinstance(block, Prose))
    assert "nw:2" in said and "6 statements begin with the object" in said
    assert tables[2].rows[0][0].text == "English to Nepali, 0 shots"


def test_the_report_tells_the_weakness_of_a_presets_task(
    config: RunConfig, finished: Path, tmp_path: Path
) -> None:
    from anukul.report import load
    from anukul.report.blocks import Table
    from anukul.report.sections import more

    report = json.loads((finished / "evaluate" / "scores.json").read_text(encoding="utf-8"))
    kept = {key: report[key] for key in ("schema", "confidence", "scores", "signature")}
    weak = [{"task": "hellaswag_ne", "source": "lm-eval", "weakness": "Machine-translated."}]
    (tmp_path / "evaluate").mkdir()
    for name, data in (("done.json", {}), ("scores.json", {**kept, "tasks": weak})):
        (tmp_path / "evaluate" / name).write_text(json.dumps(data), encoding="utf-8")
    section = more.section(load.load_run(config, tmp_path))
    assert section is not None
    table = section.blocks[-1]
    assert isinstance(table, Table)
    assert [cell.text for cell in table.rows[0]] == ["hellaswag_ne", "Machine-translated."]
    (tmp_path / "evaluate" / "scores.json").write_text(json.dumps({**kept, "tasks": [{}]}), encoding="utf-8")
    with pytest.raises(UserError, match="a row lacks a key"):
        load_more(tmp_path)


def test_minimal_pairs_take_no_shots(config: RunConfig, tmp_path: Path) -> None:
    assert config.evaluate
    pairs = config.evaluate.tasks[2]
    for changed, said in (({"shots": (0, 1)}, "take no shots"), ({"name": "agreement"}, "choose another")):
        settings = config.evaluate.model_copy(update={"tasks": (pairs.model_copy(update=changed),)})
        with pytest.raises(UserError, match=said):
            run(config.model_copy(update={"evaluate": settings}), tmp_path)
