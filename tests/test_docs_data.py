"""docs/data.md says what the code says: every setting of corpus and synth, every rule, and examples that load."""

import re
from pathlib import Path

import pytest
import yaml

from anukul import licenses
from anukul.config import CorpusSettings, RunConfig, Section, SynthSettings
from test_docs import options

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
SAME = ("instructions[].translate.", "forced_score.translator.", "round_trip.translator.", "replay[].")


def told(heading: str) -> dict[str, tuple[str, str]]:
    part = PAGE.partition(f"## {heading}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \| (.*) \|$", part, flags=re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: (default.strip(), meaning) for name, default, meaning in rows}


@pytest.mark.parametrize(("name", "model"), [("corpus", CorpusSettings), ("synth", SynthSettings)])
def test_the_page_tells_every_setting_with_its_default_and_choices(name: str, model: type[Section]) -> None:
    wanted = {key: held for key, held in options(model).items() if not key.startswith(SAME)}
    found = told(f"All settings of `{name}`")
    assert len(wanted) > 20 and found.keys() == wanted.keys()
    for key, (default, words) in wanted.items():
        shown, meaning = found[key]
        assert shown == default or (shown == "see config" and len(default) >= 60), key
        assert len(meaning) > 3, key
        for word in words:
            assert f"`{word}`" in meaning or word == default, (key, word)


def test_parts_that_are_told_once_take_the_same_settings() -> None:
    held = options(SynthSettings)
    whole = {key.removeprefix("translate.") for key in held if key.startswith("translate.")}
    for prefix in SAME[:3]:
        assert {key.removeprefix(prefix) for key in held if key.startswith(prefix)} == whole
    corpus = options(CorpusSettings)
    inputs = {key.removeprefix("inputs[].") for key in corpus if key.startswith("inputs[].")}
    assert {key.removeprefix("replay[].") for key in corpus if key.startswith("replay[].")} == inputs


def test_the_examples_are_configs_that_their_licenses_allow() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        config = RunConfig.model_validate(yaml.safe_load(block))
        assert config.language == "mai_Deva" and config.license == "commercial"
        licenses.refuse(config)


def test_every_rule_of_instructions_is_told() -> None:
    code = "".join(
        (ROOT / "src" / "anukul" / "synth" / name).read_text(encoding="utf-8")
        for name in ("instructions.py", "instruct.py", "protect.py")
    )
    rules = set(re.findall(r'(?:return|reason =) "([a-z]+_[a-z]+)", ', code)) | {
        "bad_conversation",
        "no_answer",
    }
    assert len(rules) >= 8
    assert {rule for rule in rules if f"`{rule}`" not in PAGE} == set()
