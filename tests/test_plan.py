"""`anukul plan`: the paper's figures without weights or network."""

import gzip
import re
from pathlib import Path

import pytest

from anukul import configfile, plan
from anukul.config import ModelSettings, Stage
from anukul.errors import UserError
from anukul.model.shape import read_shape
from anukul.plan.disk import predict_disk
from anukul.plan.memory import trained_parameters
from anukul.plan.rows import count_inputs
from anukul.plan.text import amount, hours, line, number, percent, size, table, unit_of

PAPER = Path(__file__).parents[1] / "configs" / "paper-nepali-llama3-8b.yaml"


def test_llama_3_8b_has_its_published_size_and_the_papers_trainable_parameters() -> None:
    shape = read_shape(ModelSettings(path="nowhere", shape="llama-3-8b"))
    assert shape.parameters == 8_030_261_248
    assert shape.lora_parameters(128) == 335_544_320
    assert not shape.tied and len(shape.linear_shapes) == 32 * 7


def test_the_shape_of_a_local_base_is_counted_as_torch_counts_it(tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    shape = read_shape(ModelSettings(path=str(tiny_base)))
    model = AutoModelForCausalLM.from_pretrained(str(tiny_base))
    assert shape.tied and shape.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_the_paper_plan_prints_what_it_costs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plan.print_plan(configfile.load(PAPER), None, tmp_path, gpus=4)
    out = capsys.readouterr().out
    assert "335,544,320 (4.2% of the base)" in out
    assert "predicted peak memory in GiB" in out and "tokenizer:" in out and "not there yet:" in out
    assert "the most there can be" in out  # no tokenizer: a micro-batch that is full
    # NF4 of 6.98 G weights and 1.05 G in bf16; 335.5 M trained weights in fp32 with two moments
    least = re.search(r"every layer recomputed +([\d.]+) +([\d.]+) +([\d.]+)", out)
    assert least and float(least.group(2)) == pytest.approx(5.31, abs=0.02)
    assert float(least.group(3)) == pytest.approx(335_544_320 * 12 / 2**30, abs=0.1)
    assert float(least.group(1)) < 16
    assert "layers shared out over 4 (FSDP2)" in out
    assert max(len(text) for text in out.splitlines()) < 160


def test_embeddings_in_full_are_counted(tmp_path: Path) -> None:
    shape = read_shape(ModelSettings(path="nowhere", shape="llama-3-8b"))
    frozen, full, more, dora = (
        configfile.load(PAPER, [change]).train
        for change in (
            "train.embeddings=frozen",
            "train.embeddings=full",
            "train.vocabulary={extend: 1000}",
            "train.lora.dora=true",
        )
    )
    assert frozen and full and more and dora
    assert trained_parameters(frozen, shape) == 335_544_320
    assert trained_parameters(full, shape) - 335_544_320 == 2 * 128_256 * 4096
    assert trained_parameters(more, shape) - 335_544_320 == 2 * 1000 * 4096
    lengths = 32 * (4096 + 1024 + 1024 + 4096 + 14_336 + 14_336 + 4096)
    assert trained_parameters(dora, shape) - 335_544_320 == lengths


def test_an_unknown_shape_names_those_that_ship() -> None:
    with pytest.raises(UserError, match="llama-3-8b"):
        read_shape(ModelSettings(path="nowhere", shape="llama-9"))


def test_rows_of_files_that_are_not_read_yet(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n" * 30)
    inputs = f"corpus.inputs=[{{path: '{tmp_path}/*.txt', skip: 3, limit: 20}}, {{path: nowhere.jsonl}}]"
    config = configfile.load(PAPER, [inputs])
    counted = "lines of its input files, 1 of 2 inputs not counted"
    assert count_inputs(config, Stage(name="t", format="text")) == (20, counted)
    nothing = configfile.load(PAPER, ["corpus.inputs=[{path: nowhere.jsonl}]"])
    rows, why = count_inputs(nothing, Stage(name="t", format="text"))
    assert rows is None and "max_examples is not set" in why
    rows, why = count_inputs(nothing, Stage(name="t", format="text", max_examples=7))
    assert rows == 7 and "not there yet" in why


def test_rows_are_counted_in_folders_in_globs_and_in_packed_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    text = "\n".join(f"line {i}" for i in range(1000))
    with gzip.open(folder / "a.txt.gz", "wt") as file:
        file.write(text)
    (folder / "deep" / "b.txt").write_text(text)
    instruct, plain = Stage(name="t", format="instruct"), Stage(name="t", format="text")
    for path, rows in ((folder, 2000), (folder / "**" / "*.txt", 1000), (folder / "?.txt.gz", 1000)):
        config = configfile.load(PAPER, [f"corpus.inputs=[{{path: '{path}'}}]"])
        assert count_inputs(config, plain) == (rows, "lines of its input files")
        config = configfile.load(PAPER, [f"synth.instructions=[{{path: '{path}', skip: 400}}]"])
        assert count_inputs(config, instruct) == (rows - 400, "lines of its input files")
    hub = configfile.load(PAPER, ["corpus.inputs=[{path: 'hub:someone/texts', limit: 70}]"])
    assert count_inputs(hub, plain) == (70, "lines of its input files")
    assert count_inputs(configfile.load(PAPER, ["corpus.inputs=[{path: 'hub:a/b'}]"]), plain)[0] is None
    (folder / "a.txt.gz").write_bytes(b"no gzip")
    config = configfile.load(PAPER, [f"corpus.inputs=[{{path: '{folder / 'a.txt.gz'}'}}]"])
    assert count_inputs(config, plain)[0] is None


def test_disk_holds_two_checkpoints_of_every_stage_and_one_more_while_it_writes() -> None:
    settings = configfile.load(PAPER, ["train.checkpoint_steps=10", "train.ledger=null"]).train
    assert settings is not None
    disk = predict_disk(settings, 100, [1000, 15, 5])
    assert (disk.adapter, disk.checkpoint) == (400, 1200)
    assert disk.kept == 3 * 400 + (2 + 1 + 0) * 1200 and disk.peak == disk.kept + 1200
    assert predict_disk(settings, 100, [15]).peak == 400 + 1200  # one checkpoint: none is replaced


def test_numbers_read_well() -> None:
    assert (amount(3.456 * 2**30, "GiB"), amount(34.56 * 2**30, "GiB")) == ("3.46", "34.6")
    assert (amount(3.456 * 2**30, "MiB"), unit_of(4 * 2**30), unit_of(2**31)) == ("3,539", "GiB", "MiB")
    assert (size(1.34e9), size(25_000_000), size(1234)) == ("1.34 GB", "25 MB", "1.23 kB")
    assert (number(612_300_000), number(12_345)) == ("612.3 M", "12,345")
    assert (hours(5 * 3600), hours(90), hours(9)) == ("5.0 h", "1.5 min", "9 s")
    assert (percent(0.013), percent(0.97)) == ("1.3%", "97%")
    assert line("disk", "a\nb") == "disk:                   a\n                        b"
    assert table(("", "n"), [("one", "1"), ("a", "1,000")]) == "           n\n  one      1\n  a    1,000"


def test_a_plan_of_a_world_that_is_not_built_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from anukul.cli import plan as command

    monkeypatch.setenv("ANUKUL_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not built yet; `anukul corpus"):
        command(PAPER.parent / "demo.yaml")
    assert capsys.readouterr().out == ""


@pytest.mark.real
def test_fertility_on_flores(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ANUKUL_REAL_DATA", str(real_data))
    config = configfile.load(PAPER, [f"model.tokenizer={real_data / 'tokenizer/llama3/hf'}"])
    plan.print_plan(config, 1000.0, tmp_path)
    out = capsys.readouterr().out
    assert "tokenizer, npi_Deva:    3.75 tokens per whitespace word" in out
    assert "tokenizer, eng_Latn:    1.24 tokens per whitespace word" in out
    assert "at 1,000 tokens/s" in out and "max_examples" in out and "ledger:" in out
