"""What README and CONTRIBUTING tell people to type exists."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


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


@pytest.mark.parametrize("page", [*PAGES, *(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))])
def test_links_and_named_files_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target
