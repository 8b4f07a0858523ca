"""Read rows of .txt, .jsonl, .json, .csv, .tsv and .parquet files, also compressed, one at a time; a bad row is a row.

Every reader yields `RawRow`s in file order. A line that is no UTF-8 or no JSON comes as a row with the name of the
rule that drops it, and where it stands, so that the caller can count it and write it down. A file that cannot be read
at all raises `CorruptFile`, and one that holds something else than was said `OddFile`, which is one. Memory is bounded
by the longest row, and a row by `MAX_ROW`.
"""

from anukul.text.files.bad import BadFiles, broke_off
from anukul.text.files.hub import DatasetSource, dataset_commit, read_dataset
from anukul.text.files.opened import MAX_ROW, CorruptFile, OddFile
from anukul.text.files.paths import FORMATS, format_of, input_paths, labels
from anukul.text.files.rows import RawRow, missing_columns, read_lines
from anukul.text.files.tables import count_rows, estimate_rows, read_table

__all__ = [
    "FORMATS",
    "MAX_ROW",
    "BadFiles",
    "CorruptFile",
    "DatasetSource",
    "OddFile",
    "RawRow",
    "broke_off",
    "count_rows",
    "dataset_commit",
    "estimate_rows",
    "format_of",
    "input_paths",
    "labels",
    "missing_columns",
    "read_dataset",
    "read_lines",
    "read_table",
]
