"""What of a config and of the files it names asks for a step again."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from anukul import inputs, languages
from anukul.config import ModelSettings, RunConfig


def write(path: Path, *lines: object) -> str:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return str(path)


@pytest.fixture
def data(tmp_path: Path, tiny_settings: ModelSettings) -> dict[str, Any]:
    """A config that evaluates in many ways, as plain data."""
    lines = write(tmp_path / "lines.txt", *(f"line {number}" for number in range(9)))
    table = write(tmp_path / "table.tsv", "text\tlabel\tother", "a\tx\tx", "b\ty\ty")
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("test", "train"):
        write(folder / f"{split}.jsonl", {"query": split, "choices": ["a", "b"], "gold": 0})
    text = {"name": "held", "path": lines, "language": "npi_Deva", "skip": 2, "limit": 3}
    task = {"name": "quiz", "path": str(folder), "language": "eng_Latn", "split": "test"}
    return {
        "name": "t",
        "language": "npi_Deva",
        "model": tiny_settings.model_dump(),
        "corpus": {"inputs": [{"path": lines, "limit": 2}]},
        "synth": {"pairs": [{"source": lines, "target": lines}]},
        "train": {
            "stages": [{"name": "one", "format": "text"}],
            "ledger": {"probes": {"bits_per_byte": [text], "tasks": [task]}},
        },
        "evaluate": {
            "tasks": [
                task,
                {"name": "topic", "path": table, "language": "npi_Deva", "labels": {"question": "?"}},
                {"name": "arc", "harness": "arc_easy", "language": "eng_Latn"},
            ],
            "bits_per_byte": [text],
            "translation": {"source": lines, "target": lines, "skip": 1, "limit": 2, "shots": [0, 2]},
            "corpus_probe": {"text": lines, "skip": 1},
        },
        "probe": {
            "treebank": lines,
            "language": "npi_Deva",
            "knockout": {"held_out": {**text, "name": "knock"}},
        },
    }


def changed(
    data: dict[str, Any], path: str, value: object, made: Callable[[RunConfig], dict[str, str]]
) -> set[str]:
    """Return which digests are others when one setting is."""
    before = made(RunConfig.model_validate(data))
    other = json.loads(json.dumps(data))
    place: Any = other
    *parents, last = path.split(".")
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    assert place.get(last) != value
    place[last] = value
    after = made(RunConfig.model_validate(other))
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("evaluate.bits_per_byte.0.limit", 4, "bits_per_byte.held"),
        ("evaluate.bits_per_byte.0.skip", 3, "bits_per_byte.held"),
        ("evaluate.translation.skip", 2, "translation"),
        ("evaluate.translation.limit", 3, "translation"),
        ("evaluate.translation.shots", [0, 3], "translation"),
        ("evaluate.corpus_probe.skip", 2, "corpus_probe"),
        ("evaluate.tasks.0.split", "train", "tasks.quiz"),
        ("evaluate.tasks.1.labels", {"label": "other"}, "tasks.topic"),
        ("evaluate.tasks.2.shots", [0], "tasks.arc"),
        ("evaluate.tasks.2.shots", "lm-eval", "tasks.arc"),
        ("evaluate.shots", [0], "tasks.arc"),
        ("train.ledger.probes.bits_per_byte.0.limit", 4, "train.ledger.held"),
        ("train.ledger.probes.tasks.0.split", "train", "train.ledger.quiz"),
        ("probe.knockout.held_out.skip", 0, "probe.knockout.knock"),
    ],
)
def test_which_items_are_asked_decides_the_corpus(
    data: dict[str, Any], path: str, value: object, key: str
) -> None:
    assert changed(data, path, value, inputs.corpus_inputs) == {f"evaluated.{key}"}
    data["corpus"] = None
    data["evaluate"]["corpus_probe"] = None
    if key != "corpus_probe":
        found = changed(data, path, value, lambda config: inputs.synth_inputs(config, Path("unused")))
        assert found == {f"evaluated.{key}"}


@pytest.mark.parametrize(
    ("path", "value"),
    [("evaluate.bootstrap", 300), ("evaluate.tasks.0.limit", 1), ("evaluate.translation.max_new_tokens", 9)],
)
def test_how_they_are_asked_decides_nothing_of_the_corpus(
    data: dict[str, Any], path: str, value: object
) -> None:
    assert changed(data, path, value, inputs.corpus_inputs) == set()


@pytest.fixture
def other_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, Any], None]]:
    """Changes what a language's YAML says."""
    folder = tmp_path / "languages"
    folder.mkdir()
    said = {
        file.stem: yaml.safe_load(file.read_text()) for file in Path(languages.__file__).parent.glob("*.yaml")
    }

    def change(code: str, key: str, value: object) -> None:
        said[code][key] = value
        for name, text in said.items():
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(text))
        monkeypatch.setattr(inputs, "resources", SimpleNamespace(files=lambda name: folder))

    yield change


def test_instructions_may_be_in_any_language(data: dict[str, Any], tmp_path: Path) -> None:
    data |= {"language": "eng_Latn", "corpus": None, "evaluate": None, "train": None, "probe": None}

    def known() -> set[str]:
        found = inputs.synth_inputs(RunConfig.model_validate(data), tmp_path)
        return {key.removeprefix("languages/").removesuffix(".yaml") for key in found if "languages/" in key}

    assert known() < set(languages.available())
    question = write(tmp_path / "asked.jsonl", {"instruction": "a", "output": "b"})
    data["synth"]["instructions"] = [{"path": question}]
    assert known() == set(languages.available())


def test_what_a_language_is_known_by_decides_synth_and_training(
    data: dict[str, Any], tmp_path: Path, other_languages: Callable[[str, str, Any], None]
) -> None:
    data["corpus"] = data["evaluate"] = data["train"]["ledger"] = data["probe"] = None
    data["train"] |= {"stages": [{"name": "one", "format": "translation"}], "replay_share": 0.0}
    config = RunConfig.model_validate(data)
    question = write(tmp_path / "asked.jsonl", {"instruction": "a", "output": "b"})
    data["synth"]["instructions"] = [{"path": question}]
    asked = RunConfig.model_validate(data)
    done = tmp_path / "run" / "synth"
    done.mkdir(parents=True)
    marker = {"outputs": {"pairs.parquet": "x"}}
    (done / "done.json").write_text(json.dumps(marker))
    root = tmp_path / "run"

    def digests() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        return (
            inputs.synth_inputs(config, root),
            inputs.synth_inputs(asked, root),
            inputs.stage_inputs(config, root, 0),
        )

    def others(before: tuple[dict[str, str], ...]) -> list[set[str]]:
        return [
            {key for key in old if old[key] != new[key]} for old, new in zip(before, digests(), strict=True)
        ]

    first = digests()
    other_languages("npi_Deva", "question_word", "सवाल")
    assert others(first) == [{"languages/npi_Deva.yaml"}] * 3
    second = digests()
    other_languages(
        "npi_Deva", "suffixes", ["ले"]
    )  # decides which text is taken for Nepali, not how it is put
    assert others(second) == [{"languages/npi_Deva.yaml"}, {"languages/npi_Deva.yaml"}, set()]
