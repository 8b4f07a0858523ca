"""What the pages tell people to type exists, and docs/training.md says what the code and the tests say."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from pydantic_core import PydanticUndefined

from anukul.config import RunConfig, Section, TrainSettings

ROOT = Path(__file__).parents[1]
TRAINING = ROOT / "docs" / "training.md"
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/training.md", "docs/data.md")


def commands() -> list[str]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        found += re.findall(r"(?:^\s*|`)((?:anukul|make) [^`#\n]*)", text, flags=re.MULTILINE)
    return [command.strip() for command in found]


def test_the_pages_name_commands() -> None:
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_every_named_command_exists(command: str) -> None:
    words = command.split()
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE), command
        return
    done = subprocess.run(
        [sys.executable, "-m", "anukul.cli", words[1], "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, command
    for option in (word.split("=")[0] for word in words if word.startswith("-")):
        assert option in done.stdout, command
    for word in words:
        if word.startswith("configs/"):
            assert (ROOT / word).exists(), command


@pytest.mark.parametrize(
    "page",
    sorted({*PAGES, *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))}),
)
def test_links_and_named_files_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target
    for name in re.findall(r"`(configs/[a-z0-9-]+\.yaml)`", text):
        assert (ROOT / name).exists(), name


def sections_of(kind: Any) -> list[tuple[str, type[Section]]]:
    """The sections that a field's type holds, and what its name gets: `[]` where there are several of them."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return [("", kind)]
    several = "[]" if get_origin(kind) is tuple else ""
    return [(several + more, section) for part in get_args(kind) for more, section in sections_of(part)]


def choices(kind: Any) -> list[str]:
    """The words that a field may be set to, where these are written out."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    parts = get_args(kind) if get_origin(kind) in (tuple, UnionType, Union) else ()
    return [choice for part in parts for choice in choices(part)]


def shown(default: Any) -> str:
    """A default as the page writes it."""
    if default is PydanticUndefined:
        return "required"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ", ".join(shown(part) for part in default) or "empty"
    if isinstance(default, float):
        return f"{default:g}"
    return str(default) if default not in ("", {}) else "empty"


def options(model: type[Section], prefix: str = "") -> dict[str, tuple[str, list[str]]]:
    """Every option below a section: {path: (default, choices)}; a part that is always there is no option."""
    found: dict[str, tuple[str, list[str]]] = {}
    for name, field in model.model_fields.items():
        inner = sections_of(field.annotation)
        if not inner or field.default is None:
            found[prefix + name] = shown(field.default), choices(field.annotation)
        for several, section in inner:
            found |= options(section, f"{prefix}{name}{several}.")
    return found


def tables() -> dict[str, tuple[str, str]]:
    """The options that the page tells: {path: (default, meaning)}."""
    section = (
        TRAINING.read_text(encoding="utf-8").partition("## All settings of `train`")[2].partition("\n## ")[0]
    )
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]*) \| (.*) \|$", section, flags=re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: (default.strip(), meaning) for name, default, meaning in rows}


def test_the_page_tells_every_option_of_train_with_its_default_and_its_choices() -> None:
    told, wanted = tables(), options(TrainSettings)
    assert len(wanted) > 50 and {"stages[].name", "lora.rank", "ledger.stop_when.language"} < wanted.keys()
    assert {name: default for name, (default, _) in told.items()} == {n: d for n, (d, _) in wanted.items()}
    for name, (_, words) in wanted.items():
        meaning = told[name][1]
        assert len(meaning) > 5, name
        for word in words:
            assert f"`{word}`" in meaning or word == told[name][0], (name, word)


def test_the_pages_example_is_a_config() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", TRAINING.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        RunConfig.model_validate(yaml.safe_load(block))


@cache
def names_in(path: str) -> set[str]:
    """The names of the tests in a file, which is read and not run."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_feature_of_the_comparison_names_tests_that_exist() -> None:
    text = TRAINING.read_text(encoding="utf-8")
    table = text.partition("## Beside other trainers")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    assert len(rows) > 15
    for row in rows:
        columns = [column.strip() for column in row.strip("|").split(" | ")]
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", columns[2])
        assert len(columns) == 9 and named, row
        for path, name in named:
            assert (ROOT / path).exists() and name in names_in(path), f"{path}::{name}"
        for cell in columns[3:]:
            assert re.match(r"\[(yes|no|partly)\]\(https://|–$", cell), cell


def test_every_test_that_a_page_names_exists() -> None:
    named = [
        (page, path, name)
        for page in (ROOT / "docs").rglob("*.md")
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page.read_text(encoding="utf-8"))
    ]
    assert len(named) > 20
    assert [one for one in named if one[2] not in names_in(one[1])] == []
