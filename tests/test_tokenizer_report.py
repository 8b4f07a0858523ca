"""`anukul tokenizer report`: counted by hand on small texts, and on the real thing."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from typer.testing import CliRunner

from anukul import configfile
from anukul.cli import app
from anukul.errors import UserError
from anukul.model.build import build_llama, save_base, train_tokenizer
from anukul.tokenizer.advice import advise, candidate
from anukul.tokenizer.cuts import measure
from anukul.tokenizer.report import make_report, print_report

ENGLISH = [
    "Ram eats rice in the village.",
    "Sita went to school and read a book.",
    "The farmer planted maize.",
]
NEPALI = ["रामले गाउँमा भात खायो।", "सीता विद्यालय गई र किताब पढी।", "किसानले मकै रोप्यो।"]
PAPER = Path(__file__).parents[1] / "configs" / "paper-nepali-llama3-8b.yaml"


def bytes_only(merges: list[tuple[str, str]]) -> Any:
    """Byte-level BPE with these merges and no others."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {piece: index for index, piece in enumerate([*sorted(letters), *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_torn_and_broken_words_are_counted() -> None:
    # क is E0 A4 95 and ि is E0 A4 BF: à ¤ ķ and à ¤ ¿ in the alphabet of bytes
    whole = [("à", "¤"), ("à¤", "ķ"), ("à¤", "¿")]
    found = measure(bytes_only([]), True, ["कि ab"], "npi_Deva", "t")
    assert found is not None
    assert (found.words, found.bytes, found.tokens) == (2, 9, 9)
    assert (found.torn_words, found.broken_words, found.partial_tokens) == (1, 1, 6)
    found = measure(bytes_only(whole), True, ["कि ab", ""], "npi_Deva", "t")
    assert found is not None
    # the consonant and its vowel sign are one letter: torn, but no character is broken
    assert (found.tokens, found.torn_words, found.broken_words, found.partial_tokens) == (5, 1, 0, 0)
    found = measure(bytes_only([*whole, ("à¤ķ", "à¤¿")]), True, ["कि ab"], "npi_Deva", "t")
    assert found is not None and (found.tokens, found.torn_words) == (4, 0)
    assert found.tokens_per_word == 2 and found.bytes_per_token == 9 / 4
    assert measure(bytes_only([]), True, ["", "  "], "npi_Deva", "t") is None


def make_config(folder: Path, **train: Any) -> Path:
    """A run.yaml with a base that has read English only."""
    folder.mkdir(exist_ok=True)
    tokenizer = train_tokenizer(ENGLISH * 5, 330)
    save_base(build_llama(len(tokenizer), 32, 1, 2, seed=1, tied=False), tokenizer, folder / "base")
    for name, lines in (("ne.txt", NEPALI * 60), ("en.txt", ENGLISH * 60), ("test.ne", NEPALI)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "name": "t",
        "language": "npi_Deva",
        "model": {"path": str(folder / "base"), "quantization": "none"},
        "corpus": {
            "inputs": [{"path": str(folder / "ne.txt")}],
            "replay": [{"path": str(folder / "en.txt")}],
        },
        "train": {"stages": [{"name": "one", "format": "text"}], **train},
        "evaluate": {
            "bits_per_byte": [{"name": "test", "path": str(folder / "test.ne"), "language": "npi_Deva"}]
        },
    }
    (folder / "run.yaml").write_text(json.dumps(config), encoding="utf-8")
    return folder / "run.yaml"


def test_the_command_prints_for_people_and_as_json(tmp_path: Path) -> None:
    path = make_config(tmp_path, vocabulary={"extend": 40})
    runs = ["tokenizer", "report", str(path), "--run", str(tmp_path / "run"), "--throughput", "100"]
    shown = CliRunner().invoke(app, runs)
    assert shown.exit_code == 0, shown.output
    assert "tokens/word" in shown.output and "advice: do not extend" in shown.output
    assert "cut as before" in shown.output and "CUT DIFFERENTLY" not in shown.output
    data = json.loads(CliRunner().invoke(app, [*runs, "--json"]).stdout)
    nepali, english = data["cuts"]
    assert nepali["language"] == "npi_Deva" and nepali["lines"] == 3 and nepali["source"] == "test"
    assert english["source"] == "one in 10 of corpus.replay" and english["lines"] == 18
    assert nepali["broken_words_share"] == 1 and english["torn_words"] == 0
    assert nepali["tokens_per_word"] > 3 * english["tokens_per_word"]
    middle = data["candidates"][1]
    assert middle["asked"] == middle["pieces"] == 40 and middle["base_unchanged"]
    assert middle["parameters"] == 40 * 32 * 2 and middle["memory"] == 40 * 32 * 2 * 16
    assert 0.3 < middle["saved"] < 1 and middle["hours"] < middle["hours_now"]
    size = sum(len(line.encode()) for line in NEPALI * 60)
    assert data["training_tokens"] == pytest.approx(size / nepali["bytes_per_token"], rel=0.01)
    assert middle["hours_now"] == pytest.approx(data["training_tokens"] / 100 / 3600, rel=0.01)


def test_it_reads_what_the_corpus_step_made_and_holds_lines_out_where_none_are_named(tmp_path: Path) -> None:
    from anukul.records import Document, write_rows

    path = make_config(tmp_path)
    config = configfile.load(path, ["evaluate=null"])
    report = make_report(config, tmp_path / "run")
    assert report.cuts[0].source == "one in 10 of corpus.inputs" and report.cuts[0].lines == 18
    rows = [Document(f"d{i}", NEPALI[0], "npi_Deva", "t", "CC0", []) for i in range(50)]
    write_rows(tmp_path / "run" / "corpus" / "documents.parquet", rows, Document)
    again = make_report(config, tmp_path / "run")
    assert again.cuts[0].lines == 5 and again.cuts[0].words == 5 * 4


def test_without_text_to_learn_from_it_measures_and_without_any_text_it_refuses(tmp_path: Path) -> None:
    path = make_config(tmp_path)
    lines: list[str] = []
    config = configfile.load(path, ["corpus=null"])
    report = make_report(config, tmp_path / "run")
    print_report(report, config, lines.append)
    assert not report.candidates and not report.extend and any("no text to learn" in line for line in lines)
    with pytest.raises(UserError, match="no text of npi_Deva"):
        make_report(configfile.load(path, ["corpus=null", "evaluate=null"]), tmp_path / "run")


def test_the_advice_follows_from_what_was_measured() -> None:
    def asked(saved: float, uses: int, unchanged: bool = True) -> Any:
        return candidate(100, [uses] * 100, 1 - saved, 1.0, unchanged, 1e9, 2400.0, None)

    assert advise(asked(0.4, 500), 2e9, 0.0)[0]
    # a base that spells the language in bytes has nothing to lose
    assert advise(asked(0.8, 500), 5e6, 0.9)[0] and not advise(asked(0.8, 500), 5e6, 0.1)[0]
    for one, tokens, word in (
        (asked(0.1, 500), 2e9, "saves 10%"),
        (asked(0.4, 20), 2e9, "at most 20 times"),
        (asked(0.4, 500), 5e6, "5.0 M tokens to train on"),
        (asked(0.4, 500, False), 2e9, "base language is cut"),
    ):
        extend, reasons = advise(one, tokens, 0.0)
        assert not extend and word in reasons[0]


@pytest.mark.real
def test_llama_3_on_flores(real_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANUKUL_REAL_DATA", str(real_data))
    nepali = real_data / "parallel/tico19/tico19-test.nep"
    overrides = [
        f"model.tokenizer={real_data / 'tokenizer/llama3/hf'}",
        f"corpus={{inputs: [{{path: {nepali}, format: txt}}]}}",
        "train.vocabulary={extend: 1000}",
    ]
    report = make_report(configfile.load(PAPER, overrides), tmp_path)
    cuts = {cut.language: cut for cut in report.cuts}
    assert 3.74 < cuts["npi_Deva"].tokens_per_word < 3.76 and 1.23 < cuts["eng_Latn"].tokens_per_word < 1.25
    assert cuts["npi_Deva"].torn_words > 0.5 * cuts["npi_Deva"].words
    assert cuts["eng_Latn"].torn_words == 0
    middle = next(one for one in report.candidates if one.asked == 1000)
    assert middle.parameters == 1000 * 4096 * 2 and middle.base_unchanged and 0.2 < middle.saved < 0.5
