"""Imports point down only, and the light modules stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "anukul"
STEPS = ("corpus", "synth", "train", "evaluate", "probe", "report", "export")
HEAVY = ("transformers", "peft", "bitsandbytes")


def imports() -> list[tuple[str, str]]:
    """Return (module, imported name) for every import in the package, relative to it."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found += [(module, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                found += [(module, node.module)]
                found += [
                    (module, f"{node.module}.{alias.name}") for alias in node.names if node.module == "anukul"
                ]
    return found


def test_only_model_imports_the_model_libraries() -> None:
    seen = [(module, name) for module, name in imports() if name.split(".")[0] in HEAVY]
    assert {name.split(".")[0] for _, name in seen} == set(HEAVY)
    assert {module.split(".")[0] for module, _ in seen} == {"model"}


def test_steps_never_import_each_other() -> None:
    crossing = [
        (module, name)
        for module, name in imports()
        if module.split(".")[0] in STEPS
        and name.startswith("anukul.")
        and name.split(".")[1] in STEPS
        and name.split(".")[1] != module.split(".")[0]
    ]
    assert crossing == []


@pytest.mark.parametrize(
    ("layer", "may_not"),
    [
        ("scoring", (*STEPS, "cli", "pipeline", "plan", "demo")),
        ("items", (*STEPS, "scoring", "model", "stats", "cli", "pipeline")),
        ("model", (*STEPS, "scoring", "stats", "text", "cli", "pipeline")),
        ("stats", (*STEPS, "scoring", "model", "cli", "pipeline")),
        ("text", (*STEPS, "scoring", "model", "cli", "pipeline")),
        ("records", (*STEPS, "scoring", "model", "text", "pipeline", "cli")),
        ("digests", (*STEPS, "scoring", "model", "text", "pipeline", "cli", "rundir")),
        ("rundir", (*STEPS, "scoring", "model", "text", "pipeline", "cli")),
        ("config", (*STEPS, "scoring", "model", "text", "pipeline", "cli")),
    ],
)
def test_imports_point_down(layer: str, may_not: tuple[str, ...]) -> None:
    own = [(m, n) for m, n in imports() if m.split(".")[0] == layer]
    assert own
    assert [(m, n) for m, n in own if n.startswith("anukul.") and n.split(".")[1] in may_not] == []


def test_light_modules_load_without_torch() -> None:
    code = (
        "import sys, anukul.cli, anukul.config, anukul.configfile, anukul.records, anukul.rundir, anukul.pipeline, "
        "anukul.report.step; print([m for m in ('torch', 'transformers', 'lm_eval') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
