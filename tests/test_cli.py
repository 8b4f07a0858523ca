"""The command line as a user meets it: fast help, one clear line, exit code 2."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

ANUKUL = [sys.executable, "-m", "anukul.cli"]
CASE = ("--sentence", "a b", "--query", "b", "--key", "a")
BACKWARDS = ("--sentence", "a b", "--query", "a", "--key", "b")


def anukul(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*ANUKUL, *arguments], capture_output=True, text=True, cwd=cwd, check=False)


def test_help_is_fast() -> None:
    times = []
    for _ in range(3):
        started = time.monotonic()
        done = anukul("--help")
        times.append(time.monotonic() - started)
    assert done.returncode == 0 and "evaluate" in done.stdout
    assert min(times) < 0.4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nowhere.yaml"), "nowhere.yaml: no such file"),
        (("rum", "x.yaml"), "No such command 'rum'"),
        (("run", "bad.yaml"), "bad.yaml: trian: unknown key; did you mean 'train'?"),
        (("run", "missing.yaml"), "corpus.inputs.0.path: nothing.txt: no such file"),
        (("run", "missing.yaml", "--redo", "corpsu"), "'corpsu' is no step"),
        (("probe", "missing.yaml", "-s", "corpus=null"), "no section for probe"),
        (("probe", "missing.yaml", "--sentence", "a b", "--query", "b"), "--key is missing"),
        (("probe", "missing.yaml", *CASE, "--head", "x"), "'x' is not LAYER.HEAD, such as 2.4"),
        (("probe", "missing.yaml", *CASE, "--redo"), "--sentence and --redo do not go together"),
        (("probe", "missing.yaml", "-s", "corpus=null", *CASE), "no `train` section"),
        (("probe", "missing.yaml", "-s", "corpus=null", *BACKWARDS), "a decoder sees only backwards"),
        (("plan", "missing.yaml"), "plan: the config has no train section"),
    ],
)
def test_mistakes_get_one_line_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    head = "name: t\nlanguage: npi_Deva\nmodel: {path: ./base}\n"
    (tmp_path / "bad.yaml").write_text(head + "trian: {}\n")
    (tmp_path / "missing.yaml").write_text(head + "corpus: {inputs: [{path: nothing.txt}]}\n")
    done = anukul(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_init_writes_a_config_that_plan_reads(tmp_path: Path) -> None:
    done = anukul("init", "mine.yaml", "--language", "mai_Deva", "--base", "some/model", cwd=tmp_path)
    assert done.returncode == 0 and "anukul plan mine.yaml" in done.stdout
    planned = anukul("plan", "mine.yaml", "-s", "model.shape=llama-3-8b", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "335,544,320" in planned.stdout and "data/mai_Deva/*.jsonl" in planned.stdout
    again = anukul("init", "mine.yaml", "--language", "mai_Deva", "--base", "some/model", cwd=tmp_path)
    unknown = anukul("init", "other.yaml", "--language", "xyz_Latn", "--base", "some/model", cwd=tmp_path)
    assert (again.returncode, unknown.returncode) == (2, 2)
    assert "exists already" in again.stderr and "npi_Deva" in unknown.stderr
