import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anukul import inputs, pipeline
from anukul.config import CorpusSettings, ModelSettings, RunConfig, TextInput
from anukul.corpus.readers import Reader, expected_documents, read_documents, shards
from anukul.errors import UserError
from anukul.rundir import read_json
from anukul.text.files import BadFiles, format_of, read_lines, read_table

TEXTS = ["राम, घर गयो।", 'सीता "आइन्"।', "हरि\nगयो।"]


def texts(item: TextInput) -> list[str]:
    return [document.text for document in read_documents(item)]


def write(folder: Path, name: str) -> Path:
    """Write TEXTS in the format that the suffix names."""
    path = folder / name
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"text": text, "n": 1}) for text in TEXTS) + "\n\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps([{"text": text} for text in TEXTS]))
    elif path.suffix == ".csv":
        buffer = io.StringIO()
        csv.writer(buffer).writerows([["n", "text"], *((1, text) for text in TEXTS)])
        path.write_text(buffer.getvalue(), encoding="utf-8-sig")
    else:
        pq.write_table(pa.table({"n": [1, 2, 3], "text": TEXTS}), path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_every_format_gives_the_same_texts(tmp_path: Path, name: str) -> None:
    item = TextInput(path=str(write(tmp_path, name)))
    if name.endswith(".json"):
        rows = read_table(tmp_path / name, format_of(tmp_path / name), ("text",))
        assert [row.values["text"] for row in rows] == TEXTS
    assert texts(item) == TEXTS
    assert texts(item.model_copy(update={"skip": 1, "limit": 1})) == TEXTS[1:2]
    assert expected_documents(item.model_copy(update={"limit": 1})) == 1


def test_a_line_is_a_document(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffएक\r\n\n  \nदुई\nतीन".encode())
    assert texts(TextInput(path=str(path))) == ["एक", "दुई", "तीन"]
    assert [document.number for document in read_documents(TextInput(path=str(path), skip=1))] == [1, 2]
    assert texts(TextInput(path=str(path), skip=1, limit=1)) == ["दुई"]
    assert [row.raw for row in read_lines(path)] == ["एक", "", "  ", "दुई", "तीन"]


def test_a_glob_is_one_input_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(f"{name}1\n{name}2\n")
    item = TextInput(path=str(tmp_path / "*.txt"), skip=1, limit=4)
    assert texts(item) == ["a2", "b1", "b2", "c1"]
    assert [document.number for document in read_documents(item)] == [1, 2, 3, 4]
    with pytest.raises(UserError, match="no such file"):
        texts(TextInput(path=str(tmp_path / "*.csv")))


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_a_missing_column_names_the_columns(tmp_path: Path, name: str) -> None:
    item = TextInput(path=str(write(tmp_path, name)), text_column="body")
    with pytest.raises(UserError, match=rf"{name}: no column 'body'; the columns are (n, )?text"):
        texts(item)


def test_bad_utf8_is_told_by_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffएक\n".encode() + b"ok \xff\xfe x\n" + "दुई\n".encode())
    rows = list(read_documents(TextInput(path=str(path))))
    assert [row.rule for row in rows] == ["", "invalid_utf8", ""]
    offset = path.read_bytes().index(b"\xff")
    assert rows[1].detail == f"a.txt: line 2, byte offset {offset}: not UTF-8"
    assert rows[1].detail in capsys.readouterr().err
    assert rows[2].text == "दुई"


def test_bad_utf8_in_a_quoted_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('text\n"एक\n'.encode() + b'\xe0\xa4"\n' + "दुई\n".encode())
    rows = list(read_documents(TextInput(path=str(path))))
    assert [(row.rule, row.text) for row in rows] == [("invalid_utf8", "एक\n\ufffd\ufffd"), ("", "दुई")]
    assert f"line 2, byte offset {path.read_bytes().index(0xE0, 12)}" in rows[0].detail


def test_many_bad_lines_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xff\n" * 25)
    assert len(list(read_documents(TextInput(path=str(path))))) == 25
    said = capsys.readouterr().err
    assert said.count("byte offset") == 20
    assert "5 more bad lines" in said


def test_bad_json_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        '{"text": "एक"}',
        "{oops",
        "[1, 2]",
        '{"body": "x"}',
        '{"text": null}',
        '{"text": 7}',
        '{"text": "\\ud800"}',
    ]
    path.write_text("\n".join(lines))
    rows = list(read_documents(TextInput(path=str(path))))
    assert [row.rule for row in rows] == ["", "invalid_json", "invalid_json", "missing_column", "", "", ""]
    assert rows[1].detail.startswith("a.jsonl: line 2: not JSON: ")
    assert rows[3].detail == "a.jsonl: row 4: no text; it has body"
    assert [row.text for row in rows[4:]] == ["", "7", "?"]


def test_short_csv_row_and_long_cell(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    long = "क" * 200_000
    path.write_text(f"n,text\n1,{long}\n2\n3,x\n")
    rows = list(read_documents(TextInput(path=str(path))))
    assert [row.rule for row in rows] == ["", "missing_column", ""]
    assert rows[0].text == long
    assert rows[1].detail == "a.csv: line 3: 1 cells, the header has 2"


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("एक".encode("utf-16"))
    with pytest.raises(UserError, match="is UTF-16; convert it: iconv"):
        texts(TextInput(path=str(path)))
    path.write_text("{}")
    with pytest.raises(UserError, match="not a Parquet file"):
        texts(TextInput(path=str(path), format="parquet"))
    bad = tmp_path / "a.json"
    bad.write_text('{"text": "x"}')
    with pytest.raises(UserError, match="must hold a list"):
        texts(TextInput(path=str(bad)))
    bad.write_text("{")
    with pytest.raises(UserError, match="line 1: not JSON"):
        texts(TextInput(path=str(bad)))
    with pytest.raises(UserError, match="no such file"):
        texts(TextInput(path=str(tmp_path / "none.txt")))


def test_columns_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("body\tdoc\turl\trights\nएक\tx1\tsite\tCC0\nदुई\tx2\t\t\n")
    item = TextInput(
        path=str(path),
        text_column="body",
        id_column="doc",
        source_column="url",
        license_column="rights",
        source="web",
    )
    rows = list(read_documents(item))
    assert [(row.text, row.given_id, row.source, row.license, row.place) for row in rows] == [
        ("एक", "x1", "site", "CC0", "a.tsv:2"),
        ("दुई", "x2", "web", "unknown", "a.tsv:3"),
    ]
    assert item.unknown == []
    assert TextInput(path="x").unknown == ["source", "license"]
    assert TextInput(path="x", source="me", license="").unknown == ["license"]


def test_a_dataset_is_an_input(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    for split, count in (("train", 3), ("test", 2)):
        pq.write_table(pa.table({"text": TEXTS[:count]}), folder / "data" / f"{split}-00000.parquet")
    item = TextInput(path=f"hub:{folder}", skip=1)
    assert texts(item) == TEXTS[1:]
    assert [row.place for row in read_documents(item)] == ["hub:set:train:2", "hub:set:train:3"]
    assert texts(item.model_copy(update={"split": "test", "skip": 0, "limit": 1})) == TEXTS[:1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": "a.txt", "split": "test"}, "`split`: only a dataset has that; write path: hub:a.txt"),
        ({"path": "hub:a/b", "format": "csv"}, "a dataset has no format"),
    ],
)
def test_what_only_datasets_have(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextInput.model_validate(given)


def test_shards_are_cut_by_rows_and_by_characters(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join("क" * size for size in (5, 5, 1, 30, 1, 1, 1, 1)))
    found = shards(read_documents(TextInput(path=str(path))), rows=3, characters=10)
    assert [[len(row.text) for row in rows] for rows in found] == [[5, 5], [1], [30], [1, 1, 1], [1]]


def test_documents_of_many_files_are_estimated(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02d}.txt").write_text("एक\n" * 9)
    assert expected_documents(TextInput(path=str(tmp_path))) == 400


def odd_files(folder: Path) -> Path:
    """Four good files, and between them three that hold something else, or cannot be read."""
    folder.mkdir()
    for name in ("b", "d", "f", "g"):
        (folder / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    (folder / "a.jsonl").write_text('{"error": "not found"}\n')
    (folder / "c.json").write_text('{"error": "try again"}')
    (folder / "e.txt").symlink_to("/proc/self/mem")  # a file whose first byte cannot be read, even by root
    return folder


def test_odd_files_among_many_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader(TextInput(path=str(odd_files(tmp_path / "in"))), BadFiles.within(0.5, 7))
    assert [row.text for row in reader.documents()] == ["b", "d", "f", "g"]
    assert sorted(reader.bad_files) == [0, 2, 4]
    assert reader.bad_files[0].startswith("no column 'text'; the columns are error; set the column names")
    assert reader.bad_files[2].startswith("must hold a list of objects")
    assert reader.bad_files[4].startswith("cannot be read: ")
    assert capsys.readouterr().err.count("corpus: skipped ") == 3
    with pytest.raises(
        UserError, match=r"2 of 7 files cannot be read: .*a.jsonl: no column.*; .*c.json: must hold"
    ):
        list(Reader(TextInput(path=str(tmp_path / "in")), BadFiles.within(0.2, 7)).documents())


def test_a_column_that_no_file_has_is_a_fault_of_the_config(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": name}) + "\n")
    item = TextInput(path=str(tmp_path), text_column="body")
    with pytest.raises(
        UserError,
        match=r"b.jsonl: no column 'body'; the columns are text; set the column names in the config$",
    ):
        list(Reader(item, BadFiles.within(0.5, 10)).documents())


def test_an_unreadable_file_is_left_out_of_a_run(tmp_path: Path) -> None:
    """From the command: what is hashed, read and counted."""
    folder = odd_files(tmp_path / "in")
    text = "\n".join(TEXTS[:2])
    (folder / "h.txt").write_text(text)
    config = RunConfig(
        name="t",
        language="npi_Deva",
        model=ModelSettings(path="unused"),
        corpus=CorpusSettings(
            inputs=(TextInput(path=str(folder), source="made", license="CC0-1.0"),),
            min_characters=1,
            language_check=False,
            min_script_share=0.0,
            max_bad_files=0.5,
        ),
    )
    pipeline.run_steps(config, "", tmp_path / "run", ("corpus",))
    (stats,) = read_json(tmp_path / "run" / "corpus" / "stats.json")["inputs"]
    assert sorted(stats["bad_files"]) == ["a.jsonl", "c.json", "e.txt"]
    assert stats["read"] == 6
    with pytest.raises(UserError, match=r"e\.txt: cannot be read"):
        inputs.corpus_inputs(
            config.model_copy(
                update={"corpus": CorpusSettings(inputs=(TextInput(path=str(folder / "e.txt")),))}
            )
        )
