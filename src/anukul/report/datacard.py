"""The data card: a Hugging Face dataset card of the corpus and the rows made of it, with figures and samples."""

from pathlib import Path
from typing import Any

import yaml

from anukul import __version__
from anukul.licenses import use_of
from anukul.report.card import escape, language_code
from anukul.report.data import RunData
from anukul.report.format import count, percent
from anukul.report.load import HELD
from anukul.report.loaddata import DataPart, load_data
from anukul.report.rulewords import meaning
from anukul.report.sections.trust import TRUST, answers

SAMPLES = 3
SHOWN = 300  # characters of a sample
# the hub's names of licenses (https://huggingface.co/docs/hub/repositories-licenses)
HUB = {
    "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0",
    "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "mit", "apache-2.0", "gpl-3.0", "odc-by", "odbl", "pddl", "unlicense",
    "llama3",
}  # fmt: skip
SIZES = (
    ("n<1K", 1e3),
    ("1K<n<10K", 1e4),
    ("10K<n<100K", 1e5),
    ("100K<n<1M", 1e6),
    ("1M<n<10M", 1e7),
    ("10M<n<100M", 1e8),
)
TEXTS = {
    "corpus/documents.parquet": ("text",),
    "corpus/replay.parquet": ("text",),
    "synth/pairs.parquet": ("source_text", "target_text"),
    "synth/instructions.parquet": ("instruction", "input", "output"),
}


def render(data: RunData) -> str:
    """Return report/DATA.md: front matter that the hub reads, then what a person asks."""
    front = yaml.safe_dump(front_matter(data), allow_unicode=True, sort_keys=False, width=120)
    target = data.language(data.config.language)
    part = load_data(data.root, ())
    parts = [
        f"---\n{front}---\n\n# Data of {escape(data.config.name)}: {escape(target)}",
        f"The text that anukul {__version__} read, filtered and made for teaching a base model "
        f"{escape(target)}. Figures "
        "come from the run folder; nothing here was typed by hand.",
        *_short(data, part),
        *_rows(data),
        *_origin(data, part),
        *_filters(data, part),
        *_samples(data),
        *_duties(data),
    ]
    return "\n\n".join(parts) + "\n"


def front_matter(data: RunData) -> dict[str, Any]:
    """Return the YAML front matter of a dataset card."""
    config = data.config
    rows = sum(held.rows for held in data.holdings)
    named = sorted({_hub(name) for held in data.holdings for name in held.license.split(" AND ") if name})
    files = sorted({held.file for held in data.holdings})
    made = any(held.origin == "synthetic" for held in data.holdings)
    tasks = ["text-generation", *(["translation"] if "synth/pairs.parquet" in files else [])]
    return {
        "pretty_name": f"{config.name}: {data.language(config.language)}",
        "language": [language_code(config.language), language_code(config.base_language)],
        "license": named[0] if len(named) == 1 else "other",
        **({"license_name": "several", "license_details": ", ".join(named)} if len(named) > 1 else {}),
        "multilinguality": ["translation" if "synth/pairs.parquet" in files else "monolingual"],
        "language_creators": ["found", *(["machine-generated"] if made else [])],
        "annotations_creators": ["no-annotation"],
        "task_categories": tasks,
        "size_categories": [next((name for name, most in SIZES if rows < most), "100M<n<1B")],
        "source_datasets": ["original"],
        "tags": ["anukul", "continual-pretraining", "low-resource", config.language],
        "configs": [
            {"config_name": Path(name).stem, "data_files": name, **({"default": True} if place == 0 else {})}
            for place, name in enumerate(files)
        ],
    }


def _hub(name: str) -> str:
    lower = name.strip().casefold()
    return lower if lower in HUB else "unknown" if lower in ("", "unknown") else "other"


def _short(data: RunData, part: DataPart) -> list[str]:
    """Return the questions of the report's data part, with their answers."""
    rows = [(question, word, answer) for question, word, answer, _ in answers(data, part)]
    return ["## In short", _table(("question", "verdict", "answer"), rows), TRUST]


def _file(path: str) -> str:
    """Return what of a path may be shared: not where it lay on somebody's machine."""
    return path if path.startswith("hub:") else Path(path).name


def _rows(data: RunData) -> list[str]:
    held = [
        (
            HELD[h.file],
            h.source,
            h.license,
            use_of(h.license, data.config.licenses),
            h.origin or "–",
            count(h.rows),
        )
        for h in data.holdings
    ]
    if not held:
        return ["## Rows", "The steps that read the data were not run in this run folder."]
    return ["## Rows", _table(("rows of", "source", "license", "use", "base-language side", "rows"), held)]


def _origin(data: RunData, part: DataPart) -> list[str]:
    said = ["## Where it comes from"]
    inputs = [
        (
            i.get("kind", ""),
            _file(str(i.get("path", ""))),
            i.get("source") or i.get("name", ""),
            i.get("license", ""),
            count(i.get("read")),
            count(i.get("kept")),
        )
        for stats in (data.corpus, data.synth)
        for i in (stats or {}).get("inputs") or []
    ]
    if inputs:
        said.append(_table(("kind", "input", "source", "license", "read", "kept"), inputs))
    for one in part.translators:
        said.append(
            f"Translated by {escape(str(one.get('id') or one.get('model')))}, under {escape(str(one.get('license')))}."
        )
    said.append(
        "Every row keeps its id, source, license and the rules that changed it; where a machine wrote a side, which."
    )
    return said


def _filters(data: RunData, part: DataPart) -> list[str]:
    said = ["## What was dropped, and how it was looked at"]
    if data.dropped:
        said.append(
            _table(
                ("step", "rule", "rows", "what it drops"),
                [(r.step, r.rule, count(r.count), meaning(r.rule)) for r in data.dropped],
            )
        )
    for one in part.looks:
        total = sum(one.counts.values()) or 1
        shares = ", ".join(
            f"{data.language(code)} {percent(amount / total)}"
            for code, amount in sorted(one.counts.items(), key=lambda item: -item[1])[:5]
        )
        said.append(f"- {escape(one.name)}: its paragraphs look like {escape(shares)}")
    touched = [(step, one) for step in part.contamination for one in step.sets if one.touched]
    if touched:
        rows = [
            (one.name, step.step, f"{count(one.touched)} of {count(one.items)}", count(one.dropped))
            for step, one in touched
        ]
        said.append(_table(("evaluation set", "step", "items found", "rows dropped"), rows))
    return said


def _samples(data: RunData) -> list[str]:
    """Return the first rows of every file, the texts cut."""
    said = ["## Samples"]
    for name in sorted({held.file for held in data.holdings}):
        rows = [
            tuple(
                str(row.get("id", "")) if column == "id" else _cut(str(row[column] or ""))
                for column in ("id", *TEXTS[name])
            )
            for row in first_rows(data.root / name, ("id", *TEXTS[name]), SAMPLES)
        ]
        if rows:
            said += [f"{HELD[name].capitalize()}:", _table(("id", *TEXTS[name]), rows)]
    return said


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def first_rows(path: Path, columns: tuple[str, ...], amount: int) -> list[dict[str, Any]]:
    """Return the first rows of a Parquet file; only so much of it is read."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        batch = next(file.iter_batches(amount, columns=list(columns)), None)
        return list(batch.to_pylist()) if batch is not None else []


def _duties(data: RunData) -> list[str]:
    uses = {h.license or "unknown": use_of(h.license, data.config.licenses) for h in data.holdings}
    said = ["## What may be done with it"]
    for use, words in (
        ("noncommercial", "Not for commercial use"),
        ("unknown", "License not known; find out before you share"),
        ("commercial", "Commercial use allowed, under the duties of the license"),
    ):
        names = sorted(name for name, held in uses.items() if held == use)
        if names:
            said.append(f"- {words}: {escape(', '.join(names))}")
    said.append(
        "Names, addresses and opinions of people may stand in text from the web; what masking found is counted in "
        "corpus/stats.json."
    )
    return said


def _table(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(escape(str(cell)) for cell in row)} |" for row in rows]
    return "\n".join(lines)
