"""Where the text that an adapter learnt from comes from: data.json beside adapter_config.json.

It goes where the adapter goes: sources, licenses, translators and the doses of every stage up to this one.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anukul.config import STAGE_FILES, RunConfig, Stage
from anukul.configfile import is_local
from anukul.licenses import check_rows, of_model, use_of
from anukul.rundir import read_json
from anukul.tables import rules_of
from anukul.train.doses import seen
from anukul.train.formats import Example

DATA = "data.json"
REPLAY, DOCUMENTS = "corpus/replay.parquet", "corpus/documents.parquet"
COLUMNS = ("source", "license", "source_origin", "origin", "translator", "translator_license")


def files_of(config: RunConfig, stage: Stage) -> tuple[str, ...]:
    """The files of the run folder that a stage learns from: its rows, replay, and what new pieces are cut from."""
    assert config.train is not None
    files = list(STAGE_FILES[stage.format])
    if config.train.of(stage).replay_share > 0:
        files.append(REPLAY)
    if config.train.vocabulary and stage.name == config.train.stages[0].name and DOCUMENTS not in files:
        files.append(DOCUMENTS)
    return tuple(files)


def check_licenses(config: RunConfig, root: Path, stage: Stage) -> None:
    """Raise UserError where `license: commercial` refuses rows that the stage would read."""
    for name in files_of(config, stage):
        check_rows(root / name, name, config)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """Return how many rows a file holds by source, license, origin and translator; the most first."""
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    columns = [name for name in COLUMNS if name in names]
    held = pq.read_table(path, columns=columns).to_pydict()
    counts = Counter(zip(*(held[name] for name in columns), strict=True))
    found = []
    for key, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        row = dict(zip(columns, key, strict=True))
        if "source_origin" in row:
            row["origin"] = row.pop("source_origin")
        found.append({**{name: value for name, value in row.items() if value}, "rows": rows})
    return found


def provenance(config: RunConfig, root: Path, index: int, used: Sequence[Example]) -> dict[str, Any]:
    """Return what data.json holds: the base, and of every stage so far its files, rows, and what it saw."""
    assert config.train is not None
    stage = config.train.stages[index]
    files = {
        name: {"rows": rows_of(root / name), "rules": rules_of(root / name) or {}}
        for name in files_of(config, stage)
    }
    before: list[dict[str, Any]] = []
    if index > 0:
        earlier = root / "train" / config.train.stages[index - 1].name / "adapter" / DATA
        before = read_json(earlier)["stages"] if earlier.exists() else []
    stages = [*before, {"stage": stage.name, "format": stage.format, "files": files, "saw": seen(used)}]
    rows = [row for one in stages for part in one["files"].values() for row in part["rows"]]
    base = of_model(config.model.path, config.model.license)
    names = sorted(
        {row.get("license", "unknown") for row in rows}
        | {row["translator_license"] for row in rows if row.get("translator_license")}
        | {base}
    )
    uses = {name: use_of(name, config.licenses) for name in names}
    return {
        "language": config.language,
        # a folder of this machine is nobody else's business: the file goes where the adapter goes
        "base": {
            "name": Path(config.model.path).name if is_local(config.model.path) else config.model.path,
            "license": base,
        },
        "commercial_use": next(
            (use for use in ("noncommercial", "unknown") if use in uses.values()), "commercial"
        ),
        "licenses": uses,
        "translators": sorted({row["translator"] for row in rows if row.get("translator")}),
        "stages": stages,
    }
