"""run.yaml: strict, every fault at once, nearest names, overrides, variables."""

from pathlib import Path

import pytest

from anukul import configfile
from anukul.errors import UserError

GOOD = """
name: t
language: npi_Deva
model: {path: ./base}
corpus:
  inputs: [{path: a.txt}]
train:
  learning_rate: 2e-4
  stages: [{name: one, format: text}]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        configfile.load(write(folder, text), overrides)
    return str(caught.value)


def test_a_good_config_loads_and_cannot_be_changed(tmp_path: Path) -> None:
    config = configfile.load(write(tmp_path, GOOD))
    assert config.train is not None and config.train.learning_rate == 2e-4
    with pytest.raises(Exception, match="frozen"):
        config.name = "other"


def test_all_faults_are_told_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    text = GOOD.replace("learning_rate: 2e-4", "lerning_rate: 2e-4\n  batch_tokens: many").replace(
        "path: ./base", "pth: x"
    )
    lines = message(tmp_path, text).splitlines()
    assert len(lines) == 4
    assert any("train.lerning_rate: unknown key; did you mean 'learning_rate'?" in line for line in lines)
    assert any("model.pth: unknown key; did you mean 'path'?" in line for line in lines)
    assert any("model.path: must be given" in line for line in lines)
    assert any("train.batch_tokens" in line and "'many'" in line for line in lines)
    assert all(line.startswith(str(tmp_path / "run.yaml")) for line in lines)


def test_a_nested_unknown_key_names_its_path(tmp_path: Path) -> None:
    text = GOOD.replace("{name: one, format: text}", "{name: one, format: text, epoch: 2}")
    assert "train.stages.0.epoch: unknown key; did you mean 'epochs'?" in message(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must hold keys and values"),
        ("name: [", "not valid YAML"),
        ("name: a\nname: b", "key 'name' twice (line 2)"),
        (GOOD.replace("a.txt", "'${NOT_SET_ANYWHERE}/a.txt'"), "${NOT_SET_ANYWHERE} is not set"),
        (GOOD + "  context: 100\n  batch_tokens: 250\n", "must divide"),
        (GOOD.replace("name: t\n", "name: ../t\n"), "name: "),
    ],
)
def test_bad_files_say_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    assert said in message(tmp_path, text)


def test_overrides_reach_into_lists_and_make_sections(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    config = configfile.load(
        path, ["train.stages.0.epochs=2", "evaluate.shots=[0, 3]", "train.learning_rate=1e-3"]
    )
    assert config.train is not None and config.evaluate is not None
    assert config.train.stages[0].epochs == 2 and config.evaluate.shots == (0, 3)
    assert config.train.learning_rate == 1e-3
    for bad in ("train.stages.7.epochs=2", "novalue", "name.x=1"):
        with pytest.raises(UserError, match=r"^-s "):
            configfile.load(path, [bad])


def test_variables_come_from_the_environment_or_their_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_HERE", "/d")
    path = write(tmp_path, GOOD.replace("a.txt", "'${DATA_HERE}/${NOT_SET_ANYWHERE:-b}.txt'"))
    config = configfile.load(path)
    assert config.corpus is not None and config.corpus.inputs[0].path == "/d/b.txt"


def test_missing_input_files_are_named_with_their_keys(tmp_path: Path) -> None:
    text = GOOD.replace("a.txt", str(tmp_path / "a.txt")).replace("./base", str(tmp_path / "base"))
    path = write(tmp_path, text)
    config = configfile.load(path)
    with pytest.raises(UserError) as caught:
        configfile.check_files(path, config)
    assert "corpus.inputs.0.path" in str(caught.value) and "model.path" in str(caught.value)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "base").mkdir()
    for file, said in (("config.json", "no config.json"), ("tokenizer.json", "no tokenizer in this folder")):
        with pytest.raises(UserError, match=said):
            configfile.check_files(path, config)
        (tmp_path / "base" / file).write_text("{}")
    configfile.check_files(path, config)


def test_every_shipped_config_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANUKUL_REAL_DATA", "/real")
    folder = Path(__file__).parents[1] / "configs"
    found = sorted(path for path in folder.glob("*.yaml") if path.name != "template.yaml")
    assert len(found) >= 6
    for path in found:
        config = configfile.load(path)
        assert config.name == path.stem and config.train is not None and len(config.train.stages) >= 2
