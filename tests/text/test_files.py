import csv
import gzip
import io
import json
import lzma
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anukul.errors import UserError
from anukul.text.files import (
    CorruptFile,
    DatasetSource,
    count_rows,
    dataset_commit,
    estimate_rows,
    format_of,
    input_paths,
    labels,
    opened,
    read_dataset,
    read_table,
)

TEXTS = ["राम, घर गयो।", 'सीता "आइन्"।', '"हरि" गयो।']
SUFFIXES = (".txt", ".jsonl", ".json", ".csv", ".tsv", ".parquet")
PACKED = ("", ".gz", ".zst", ".xz")


def content(suffix: str) -> bytes:
    """TEXTS in the format that a suffix names."""
    if suffix == ".txt":
        return ("\ufeff" + "\n\n".join(TEXTS)).encode()
    if suffix == ".jsonl":
        return "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in TEXTS).encode()
    if suffix == ".json":
        return json.dumps([{"text": text} for text in TEXTS]).encode()
    if suffix == ".tsv":
        return ("n\ttext\n" + "".join(f"1\t{text}\n" for text in TEXTS)).encode()
    if suffix == ".csv":
        rows = io.StringIO()
        csv.writer(rows).writerows([["n", "text"], *((1, text) for text in TEXTS)])
        return rows.getvalue().encode()
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"n": [1, 2, 3], "text": TEXTS}), table)
    return bytes(table.getvalue().to_pybytes())


def packed(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data)
    if suffix == ".xz":
        return lzma.compress(data)
    if suffix == ".zst":
        stream = pa.BufferOutputStream()
        with pa.CompressedOutputStream(stream, "zstd") as file:
            file.write(data)
        return bytes(stream.getvalue().to_pybytes())
    return data


def texts(path: Path) -> list[str]:
    return [row.values["text"] for row in read_table(path, format_of(path), ("text",))]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compression", PACKED)
def test_every_format_packed_in_every_way(tmp_path: Path, suffix: str, compression: str) -> None:
    path = tmp_path / f"a{suffix}{compression}"
    path.write_bytes(packed(content(suffix), compression))
    assert texts(path) == TEXTS
    breaks = {".txt": 5, ".jsonl": 4, ".json": 1, ".csv": 5, ".tsv": 5, ".parquet": 3}
    assert count_rows(path, format_of(path)) == breaks[suffix]  # line breaks and one
    assert estimate_rows(path, format_of(path)) == (
        breaks[suffix] if suffix != ".parquet" or not compression else 0
    )


@pytest.mark.parametrize("compression", PACKED[1:])
def test_several_streams_in_one_file(tmp_path: Path, compression: str) -> None:
    path = tmp_path / f"a.jsonl{compression}"
    path.write_bytes(packed(content(".jsonl"), compression) * 2)
    assert texts(path) == TEXTS * 2


@pytest.mark.parametrize("compression", PACKED[1:])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_file_cut_short_or_damaged(tmp_path: Path, suffix: str, compression: str) -> None:
    path = tmp_path / f"a{suffix}{compression}"
    data = packed(content(suffix) if suffix == ".parquet" else os.urandom(9000).hex().encode(), compression)
    bad_ones = [data[: len(data) // 2], b"nothing of the kind"]
    if compression != ".zst":  # pyarrow writes no checksum that would tell
        bad_ones.append(data[:40] + b"\0" * 20 + data[60:])
    for bad in bad_ones:
        path.write_bytes(bad)
        with pytest.raises(
            CorruptFile, match=f"a{suffix}{compression}: .*; repair the file, or leave it out"
        ):
            texts(path)
        assert estimate_rows(path, format_of(path)) >= 0


@pytest.mark.parametrize("data", [b"PAR1 no more", b"", content(".parquet")[:-30]])
def test_what_is_no_parquet(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match="not a Parquet file"):
        texts(path)
    assert estimate_rows(path, "parquet") == 0


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [os.urandom(50).hex() for _ in range(3000)]}), path, compression="gzip")
    data = bytearray(path.read_bytes())
    data[5000:6000] = bytes(1000)
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"damaged after row|cannot be read"):
        texts(path)


def test_a_file_that_may_not_be_opened(tmp_path: Path) -> None:
    with pytest.raises(CorruptFile, match="cannot be read: Is a directory"):
        texts(tmp_path)


def test_quotation_marks_are_characters_of_tsv(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('text\tn\n"राम\t1\nगयो"\t2\nx\n')
    rows = list(read_table(path, "tsv", ("text",)))
    assert [(row.values.get("text"), row.rule) for row in rows] == [
        ('"राम', ""),
        ('गयो"', ""),
        (None, "missing_column"),
    ]


def found_in(path: Path) -> list[tuple[int, str, str]]:
    """Number, text and rule of each row."""
    rows = read_table(path, format_of(path), ("text",))
    return [(row.number, row.values.get("text", ""), row.rule) for row in rows]


def test_a_quotation_that_is_never_closed(tmp_path: Path) -> None:
    """All that follows would be one cell: the file is named as broken, at the row where it opens."""
    path = tmp_path / "a.csv"
    path.write_text('n,text\n1,राम\n2,"सीता\n3,हरि\n4,गीता\n')
    rows = read_table(path, "csv", ("text",))
    assert next(rows).values == {"text": "राम"}
    with pytest.raises(
        CorruptFile, match=r"a.csv: line 3: a quotation mark is opened in this row and never closed"
    ):
        next(rows)
    path.write_text('n,"text\n1,राम\n')
    with pytest.raises(CorruptFile, match="line 1: a quotation mark is opened"):
        texts(path)


def test_a_quotation_that_is_opened_by_mistake(tmp_path: Path) -> None:
    """It ends at the next quotation mark, whose row is no row then; the rows after that are read."""
    path = tmp_path / "a.csv"
    path.write_text('n,text\n1,"राम\n2,सीता\n3,"हरि, गयो"\n4,गीता\n5,"एक""दुई"\n6,"तीन" चार\n7,पाँच\n')
    assert found_in(path) == [
        (2, "", "invalid_csv"),
        (5, "गीता", ""),
        (6, 'एक"दुई', ""),
        (7, "", "invalid_csv"),
        (8, "पाँच", ""),
    ]
    first = next(read_table(path, "csv", ("text",)))
    assert first.raw == '1,"राम\n2,सीता\n3,"हरि, गयो"'
    assert first.detail.startswith("a.csv: line 2: not CSV: ")
    path.write_text('n,"te"xt\n1,राम\n')
    with pytest.raises(CorruptFile, match="the header is no row"):
        texts(path)


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_more_cells_than_the_header_has(tmp_path: Path, suffix: str) -> None:
    mark = {"csv": ",", "tsv": "\t"}[suffix]
    path = tmp_path / f"a.{suffix}"
    path.write_text("n,text\n1,राम, घर गयो\n2,सीता,, \n3,हरि\n".replace(",", mark))
    assert found_in(path) == [(2, "", "extra_cells"), (3, "सीता", ""), (4, "हरि", "")]
    first = next(read_table(path, suffix, ("text",)))
    assert first.raw == f"1{mark}राम{mark} घर गयो"
    assert first.detail == f"a.{suffix}: line 2: 3 cells, the header has 2"


def test_a_row_without_end_fills_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "MAX_ROW", 1000)
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\n" + b"x" * 3_000_000 + b"\ntwo\n" + b"y" * 1000))
    rows = list(read_table(path, "txt", ("text",)))
    assert [(row.number, row.rule, row.raw) for row in rows] == [
        (1, "", "one"),
        (2, "oversized_row", ""),
        (3, "", "two"),
        (4, "oversized_row", ""),
    ]
    whole = tmp_path / "b.csv"
    whole.write_bytes(b"text\n" + b"x" * 3000)
    with pytest.raises(CorruptFile, match="line 2: more than"):
        texts(whole)


def test_offsets_are_those_of_what_is_packed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.xz"
    path.write_bytes(lzma.compress("एक\n".encode() + b"ok \xff"))
    rows = list(read_table(path, "txt", ("text",)))
    assert rows[1].detail == "a.txt.xz: line 2, byte offset 10: not UTF-8"


def test_folders_and_globs(tmp_path: Path) -> None:
    names = ["b/x.jsonl.gz", "b/a.txt", "a.csv", "b/.hidden/x.txt", "README.md", "b/c/y.tsv.zst", ".z.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def found(path: str) -> list[str]:
        return [str(item.relative_to(tmp_path)) for item in input_paths(str(tmp_path / path))]

    assert found("") == ["a.csv", "b/a.txt", "b/c/y.tsv.zst", "b/x.jsonl.gz"]
    assert found("b/*.txt") == ["b/a.txt"]
    assert found("**/*.txt") == ["b/a.txt"]
    assert found("*/[ax].*") == ["b/a.txt", "b/x.jsonl.gz"]
    assert labels(input_paths(str(tmp_path / "b"))) == ["a.txt", "c/y.tsv.zst", "x.jsonl.gz"]
    assert labels(input_paths(str(tmp_path / "a.csv"))) == ["a.csv"]
    with pytest.raises(UserError, match="no such file"):
        found("none/*.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no file in this folder ends in .txt, .jsonl"):
        found("empty")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.JSONL.GZ", "jsonl"), ("a.ne", "txt"), ("a.gz", "txt"), ("a.ndjson.zst", "jsonl"), ("x.tsv", "tsv")],
)
def test_the_format_is_that_before_the_packing(name: str, kind: str) -> None:
    assert format_of(Path(name)) == kind
    assert format_of(Path(name), "csv") == "csv"


def test_rows_are_estimated_from_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anukul.text.files.tables.SAMPLE", 1 << 20)
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789\n" * 500_000)
    assert abs(estimate_rows(path, "txt") - 500_000) < 5_000


def test_datasets_in_folders(tmp_path: Path) -> None:
    import datasets

    made = datasets.Dataset.from_dict({"body": TEXTS, "n": [1, 2, 3]})
    made.save_to_disk(str(tmp_path / "saved"))
    datasets.DatasetDict({"test": made}).save_to_disk(str(tmp_path / "splits"))
    for split, count in (("train", 3), ("validation", 2)):
        (tmp_path / "plain" / "data").mkdir(parents=True, exist_ok=True)
        made.select(range(count)).to_parquet(str(tmp_path / "plain" / "data" / f"{split}-0.parquet"))
    (tmp_path / "lines").mkdir()
    rows = [json.dumps({"id": f"x{i}", "body": text}) for i, text in enumerate(TEXTS)]
    (tmp_path / "lines" / "train.jsonl").write_text("\n".join(rows))

    def bodies(name: str, split: str | None = None, subset: str | None = None) -> list[str]:
        source = DatasetSource(str(tmp_path / name), subset, split)
        assert dataset_commit(source) is None
        return [row.values["body"] for row in read_dataset(source, ("body",), ("id",))]

    assert bodies("saved") == bodies("splits", "test") == bodies("plain") == bodies("lines") == TEXTS
    assert bodies("plain", "validation") == TEXTS[:2]
    source = DatasetSource(str(tmp_path / "lines"))
    assert str(source) == "hub:lines:train"
    assert [(row.number, row.values["id"]) for row in read_dataset(source, ("body",), ("id",))] == [
        (1, "x0"),
        (2, "x1"),
        (3, "x2"),
    ]
    with pytest.raises(UserError, match="no split 'train'; there are test"):
        bodies("splits")
    with pytest.raises(UserError, match="cannot be loaded"):
        bodies("plain", "other")
    with pytest.raises(UserError, match="no column 'text'"):
        list(read_dataset(DatasetSource(str(tmp_path / "saved")), ("text",)))
    with pytest.raises(UserError, match="no column 'text'; the columns are"):
        list(read_dataset(source, ("text",)))


def test_a_dataset_that_is_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hub:no/such:train: no dataset no/such@v1 on the hub: .*network"):
        dataset_commit(DatasetSource("no/such", revision="v1"))
