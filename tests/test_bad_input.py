"""What users get wrong, end to end: one clear line, exit code 2."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from anukul.records import Document, Dropped, read_rows

HINDI = [
    "यह किताब बहुत अच्छी है और मैं इसे रोज़ पढ़ता हूँ।",
    "वह कल बाज़ार से सब्ज़ियाँ लेकर आया था।",
    "हम लोग अगले साल दिल्ली में रहने वाले हैं।",
]
NEPALI = ["रामले गाउँमा भात खायो र घर फर्कियो।", "हामी भोलि विद्यालय जानेछौँ।", "उनीहरूलाई चिया मन पर्छ।"]


def corpus(
    folder: Path, name: str, data: bytes, base: Path | str = "./base"
) -> subprocess.CompletedProcess[str]:
    (folder / name).write_bytes(data)
    (folder / "run.yaml").write_text(
        f"name: t\nlanguage: npi_Deva\nmodel: {{path: {base}}}\n"
        f"corpus: {{inputs: [{{path: {folder / name}, source: s, license: l}}]}}\n"
    )
    return anukul(folder, "corpus", "run.yaml")


def anukul(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "anukul.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("data", [b"", b"\n\n  \n", b"<html><body></body></html>\n"])
def test_an_empty_corpus(tmp_path: Path, data: bytes) -> None:
    assert "no document left" in last_line(corpus(tmp_path, "a.txt", data))


def test_a_corpus_that_is_all_hindi(tmp_path: Path) -> None:
    said = last_line(corpus(tmp_path, "a.txt", "\n".join(HINDI * 5).encode()))
    assert "hin_Deva" in said and "npi_Deva" in said
    dropped = read_rows(tmp_path / "runs/t/corpus/dropped.parquet", Dropped)
    assert {row.rule for row in dropped} <= {"wrong_language", "exact_duplicate"}
    assert len(dropped) == 15


def test_invalid_utf8_is_named_with_its_offset_and_the_rest_is_kept(tmp_path: Path) -> None:
    lines = [line.encode() for line in NEPALI]
    data = lines[0] + b"\n" + b"\xff\xfe broken \x80\n" + lines[1] + b"\n" + lines[2] + b"\n"
    done = corpus(tmp_path, "a.txt", data)
    assert done.returncode == 0, done.stderr
    kept = read_rows(tmp_path / "runs/t/corpus/documents.parquet", Document)
    assert [row.text for row in kept] == NEPALI
    dropped = read_rows(tmp_path / "runs/t/corpus/dropped.parquet", Dropped)
    assert [row.rule for row in dropped] == ["invalid_utf8"]
    offset = str(len(lines[0]) + 1)
    assert offset in dropped[0].detail
    assert "a.txt" in done.stderr and offset in done.stderr


def test_a_base_without_a_tokenizer_is_found_before_anything_runs(tiny_base: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_base / name).read_bytes())
    corpus(tmp_path, "a.txt", "\n".join(NEPALI).encode(), base=tmp_path)
    with (tmp_path / "run.yaml").open("a") as file:
        file.write("train: {context: 64, batch_tokens: 64, stages: [{name: a, format: text}]}\n")
    assert "no tokenizer in this folder" in last_line(anukul(tmp_path, "run", "run.yaml"))


@pytest.fixture(scope="module")
def trained(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of corpus and train on a few lines, and a treebank with a cycle."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "a.txt").write_text("\n".join(NEPALI), encoding="utf-8")
    words = "1\tराम\tराम\tPROPN\t_\t_\t2\tnsubj\t_\t_\n2\tगयो\tजानु\tVERB\t_\t_\t1\tdep\t_\t_\n"
    (folder / "cycle.conllu").write_text(f"# sent_id = c1\n# text = राम गयो\n{words}\n", encoding="utf-8")
    config = {
        "name": "t",
        "language": "npi_Deva",
        "model": {"path": str(tiny_base)},
        "corpus": {"inputs": [{"path": str(folder / "a.txt")}]},
        "train": {
            "context": 128,
            "batch_tokens": 128,
            "replay_share": 0.0,
            "lora": {"rank": 2, "alpha": 2},
            "stages": [{"name": "a", "format": "text", "epochs": 6}],
            "checkpoint_steps": 1,
        },
        "probe": {"treebank": str(folder / "cycle.conllu"), "language": "npi_Deva"},
    }
    (folder / "run.yaml").write_text(json.dumps(config))
    done = anukul(folder, "run", "run.yaml", "-s", "probe=null", "-s", "train.replay_share=0.0")
    assert done.returncode == 0, done.stderr
    return folder


def test_a_treebank_with_a_cycle(trained: Path) -> None:
    said = last_line(anukul(trained, "probe", "run.yaml"))
    assert "cycle.conllu" in said and "c1" in said and "cycle" in said


def test_a_learning_rate_that_diverges_is_told_with_what_is_left(trained: Path) -> None:
    said = last_line(
        anukul(
            trained,
            "run",
            "run.yaml",
            "--run",
            "runs/nan",
            "-s",
            "probe=null",
            "-s",
            "train.learning_rate=1e25",
        )
    )
    assert "training diverged" in said and "step" in said and "--redo train" in said
    kept = sorted(path.name for path in (trained / "runs/nan/train/a").glob("step-*"))
    # the step after the only checkpoint was bad, so its weights are no place to go on from, finite as they are
    assert kept == ["step-000001"] and "no good checkpoint had been written yet" in said
    from safetensors.torch import load_file

    weights = load_file(trained / f"runs/nan/train/a/{kept[-1]}/adapter/adapter_model.safetensors")
    assert weights and all(bool(tensor.isfinite().all()) for tensor in weights.values())


def test_markup_in_a_corpus_line_is_text(tmp_path: Path) -> None:
    data = "\n".join([*NEPALI, "<p>राम घर गयो र <b>भात</b> खायो।</p>"]).encode()
    done = corpus(tmp_path, "a.txt", data)
    assert done.returncode == 0, done.stderr
    texts = [row.text for row in read_rows(tmp_path / "runs/t/corpus/documents.parquet", Document)]
    assert texts[-1] == "राम घर गयो र भात खायो।"
