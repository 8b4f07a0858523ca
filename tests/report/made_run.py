"""A run folder with realistic numbers drawn from a seed, in the formats that the steps write."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from made_probe import RELATIONS, WORDS, make_probe

from anukul.config import RunConfig
from anukul.records import Document, Dropped, Flip, Instruction, Pair, write_rows
from anukul.rundir import Result, write_json

__all__ = ("RELATIONS", "WORDS")
SCRIPT = "<script>alert('corpus')</script> & <b>bold</b>"
STAGES = ("translation", "bilingual", "instruct")
TASKS = (("arc-easy", "eng_Latn", "forgetting", 0.25), ("piqa", "eng_Latn", "forgetting", 0.5))
TARGET_TASKS = (("belebele-ne", "npi_Deva", "target", 0.25), ("world-ne", "npi_Deva", "target", 0.25))
SHOTS = (0, 1, 2, 4)


@dataclass(frozen=True)
class Made:
    """A made run and its report."""

    config: RunConfig
    root: Path
    result: Result
    html: str
    card: str


def config(**changes: Any) -> RunConfig:
    """Return the config of the made run."""
    data: dict[str, Any] = {
        "name": "made-run",
        "language": "npi_Deva",
        "base_language": "eng_Latn",
        "seed": 3,
        "model": {"path": "example/Llama-made-8B"},
        "corpus": {
            "inputs": [{"path": "news.jsonl", "source": "news", "license": "CC-BY-4.0"}],
            "replay": [{"path": "english.txt", "source": "stories", "license": "CC0-1.0"}],
        },
        "synth": {
            "pairs": [{"source": "a.en", "target": "a.ne", "name": "parallel", "license": "CC-BY-NC-4.0"}]
        },
        "train": {"stages": [{"name": name, "format": name} for name in STAGES], "replay_share": 0.2},
        "evaluate": {
            "tasks": [
                {"name": name, "path": f"{name}.jsonl", "language": language, "role": role}
                for name, language, role, _ in (*TASKS, *TARGET_TASKS)
            ],
            "bits_per_byte": [{"name": "flores-nepali", "path": "f.ne", "language": "npi_Deva"}],
        },
        "probe": {"treebank": "ne.conllu", "language": "npi_Deva"},
    }
    return RunConfig.model_validate({**data, **changes})


def make_run(
    root: Path, seed: int = 3, layers: int = 8, heads: int = 8, chance_only: bool = False
) -> RunConfig:
    """Write a whole run folder under `root` and return its config."""
    rng = np.random.default_rng(seed)
    made = config()
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "config.resolved.json", made.model_dump(mode="json"))
    (root / "config.requested.yaml").write_text(
        "name: made-run  # <as typed>\nlanguage: npi_Deva\n", encoding="utf-8"
    )
    run = {
        "command": ["anukul", "run", "run.yaml"],
        "anukul": "0.1.0",
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "git_dirty": False,
        "python": "3.12.3",
        "machine": "Linux x86_64",
        "packages": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.0"},
        "model_revision": None,
    }
    write_json(root / "run.json", run)
    make_corpus(root)
    make_synth(root)
    for index, name in enumerate(STAGES):
        make_stage(root, name, index, rng)
    make_evaluation(root, rng, chance_only)
    outputs = make_probe(root / "probe", rng, layers, heads)
    done(root / "probe", outputs, {"sentences": 118, "arcs": 2000}, 75.0)
    return made


def done(folder: Path, outputs: list[str], rows: dict[str, int], seconds: float) -> None:
    hashes = {name: f"{index:02d}" + "ab" * 31 for index, name in enumerate(outputs)}
    record = {"schema": 1, "settings": {}, "inputs": {}, "outputs": hashes, "rows": rows, "seconds": seconds}
    write_json(folder / "done.json", {**record, "finished": "2026-01-02T03:04:05+0000"})


def make_corpus(root: Path) -> None:
    folder = root / "corpus"
    documents = [
        Document(f"0:{i}", f"यो वाक्य {i} हो।", "npi_Deva", "news", "CC-BY-4.0", []) for i in range(40)
    ]
    replay = [Document(f"r:{i}", f"Line {i}.", "eng_Latn", "stories", "unknown", []) for i in range(12)]
    dropped = [Dropped("0:40", "news", "script", "share of Devanagari .12 < .5", SCRIPT)]
    dropped += [
        Dropped(f"0:{i}", "news", "exact_duplicate", "stands earlier", f"यो वाक्य {i}") for i in range(41, 60)
    ]
    write_rows(folder / "documents.parquet", documents, Document)
    write_rows(folder / "replay.parquet", replay, Document)
    write_rows(folder / "dropped.parquet", dropped, Dropped)
    counts = {"characters": 4000, "words": 800, "normalized": {"nfc": 3}, "looks_like": {}}
    inputs = [
        {
            "kind": "corpus",
            "path": "data/news.jsonl",
            "language": "npi_Deva",
            "source": "news",
            "license": "CC-BY-4.0",
        }
        | {"read": 60, "kept": 40, "dropped": {"script": 1, "exact_duplicate": 19}}
        | counts,
        {
            "kind": "replay",
            "path": "data/en.txt",
            "language": "eng_Latn",
            "source": "stories",
            "license": "unknown",
        }
        | {"read": 12, "kept": 12, "dropped": {}}
        | counts,
    ]
    write_json(folder / "stats.json", {"inputs": inputs, "total": {}})
    done(
        folder,
        ["documents.parquet", "replay.parquet", "dropped.parquet", "stats.json"],
        {"documents": 40},
        12.5,
    )


def make_synth(root: Path) -> None:
    folder = root / "synth"
    pairs = [
        Pair(
            f"0:{i}",
            "",
            f"Line {i}",
            f"वाक्य {i}",
            "eng_Latn",
            "npi_Deva",
            "synthetic",
            "nllb",
            "parallel",
            "CC-BY-NC-4.0",
        )
        for i in range(30)
    ]
    rows = [Instruction("0:0", "भन", "", "हुन्छ", "npi_Deva", "alpaca", "CC-BY-4.0")]
    dropped = [Dropped("0:30", "parallel", "length_ratio", "4.2 > 3", "a\tb")]
    write_rows(folder / "pairs.parquet", pairs, Pair)
    write_rows(folder / "instructions.parquet", rows, Instruction)
    write_rows(folder / "dropped.parquet", dropped, Dropped)
    entry = {
        "kind": "pairs",
        "path": "a.en",
        "name": "parallel",
        "license": "CC-BY-NC-4.0",
        "read": 31,
        "kept": 30,
    }
    write_json(
        folder / "stats.json",
        {"inputs": [entry | {"linked": 30, "dropped": {"length_ratio": 1}}], "total": {}},
    )
    done(folder, ["pairs.parquet", "instructions.parquet"], {"pairs": 30, "instructions": 1}, 95.0)


def make_stage(root: Path, name: str, index: int, rng: np.random.Generator, steps: int = 300) -> None:
    folder = root / "train" / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, steps + 1, 5):
        share = step / steps
        loss = 2.1 - 0.4 * index + (1.4 - 0.3 * index) * math.exp(-4 * share) + 0.05 * rng.normal()
        tokens = int(16_000 + 300 * rng.normal())
        line = {"stage": name, "step": step, "steps": steps, "tokens": tokens, "loss_tokens": tokens // 2}
        line |= {
            "loss": loss,
            "replay_loss_tokens": tokens // 10,
            "gradient_norm": 0.4 + 0.1 * abs(rng.normal()),
        }
        line["learning_rate"] = (
            2e-4 * min(1, share / 0.05) * (0.1 + 0.9 * (1 + math.cos(math.pi * share)) / 2)
        )
        line |= {"tokens_per_second": 2400 + 60 * rng.normal(), "seconds": 6.6}
        lines.append(json.dumps(line))
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"stage": "torn', encoding="utf-8")
    rows = {
        "steps": steps,
        "examples": 52_000,
        "tokens": 4_800_000,
        "loss_tokens": 2_400_000,
        "replay_tokens": 950_000,
    }
    done(
        folder,
        ["adapter", "metrics.jsonl"],
        {**rows, "left_out": 3, "trainable_parameters": 335_544_320},
        2010.0,
    )


def around(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def score(kind: str, task: str, language: str, **given: Any) -> dict[str, Any]:
    """Return a row of scores.json."""
    base, adapted, half = given.pop("base"), given.pop("adapted"), given.pop("half")
    row: dict[str, Any] = {"kind": kind, "task": task, "language": language, "role": "target", "split": "all"}
    row |= {"phenomenon": "", "shots": 0, "metric": "accuracy", "n": 500, "chance": 0.25}
    row |= {
        "base": around(base, half),
        "adapted": around(adapted, half),
        "difference": around(adapted - base, half),
    }
    row |= {"p": 0.004, "q": 0.012, "lost": 20, "gained": 61, "percent_increase": None}
    return {**row, "clusters": given.get("n", row["n"]), **given}


def make_plain_scores(loss: float) -> list[dict[str, Any]]:
    """Return the scores that know no shots: bits per byte, knowledge, agreement."""
    bits = {"metric": "bits_per_byte", "chance": None, "lost": None, "gained": None, "n": 1012}
    rows = [
        score("bits_per_byte", "flores-nepali", "npi_Deva", base=1.31, adapted=0.72, half=0.02, **bits),
        score(
            "bits_per_byte",
            "flores-english",
            "eng_Latn",
            base=0.842,
            adapted=0.842 + loss,
            half=0.006,
            **bits,
        ),
    ]
    for language, gain in (("npi_Deva", 0.31), ("eng_Latn", 0.12)):
        for split, base in (("all", 0.4), ("base", 0.71), ("new", 0.27), ("never", 0.24)):
            more = {"all": gain / 2, "base": -0.05, "new": gain, "never": 0.01}[split]
            rows.append(
                score("knowledge", "facts", language, split=split, base=base, adapted=base + more, half=0.04)
            )
    for name, base, adapted in (("all", 0.61, 0.83), ("honorific", 0.52, 0.79), ("ergative", 0.66, 0.68)):
        rows.append(
            score(
                "agreement",
                "pairs",
                "npi_Deva",
                phenomenon=name,
                base=base,
                adapted=adapted,
                half=0.04,
                chance=0.5,
            )
        )
    return rows


def make_shots(
    rng: np.random.Generator, chance_only: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the scores of all tasks at all shots, and how each differs from no shot."""
    rows, retention = [], []
    for task, language, role, chance in (*TASKS, *TARGET_TASKS):
        start, effect = (chance, 0.0) if chance_only else (chance + 0.2, 0.08 if role == "target" else -0.03)
        zero: dict[str, float] = {}
        for k in SHOTS:
            rise = 0 if chance_only else 0.03 * math.log1p(k)
            base, adapted = (
                start + rise,
                start + effect + rise * (1.8 if role == "target" else 1) + 0.004 * rng.normal(),
            )
            row = score(
                "multiple_choice",
                task,
                language,
                role=role,
                shots=k,
                chance=chance,
                base=base,
                adapted=adapted,
                half=0.035,
            )
            if k == 0:
                zero = {"base": base, "adapted": adapted}
            else:
                row["percent_increase"] = {
                    "base": 100 * (base / zero["base"] - 1),
                    "adapted": 100 * (adapted / zero["adapted"] - 1),
                }
                head = {
                    "kind": "multiple_choice",
                    "task": task,
                    "language": language,
                    "role": role,
                    "k": k,
                    "n": 500,
                }
                gain = around((adapted - zero["adapted"] - base + zero["base"]) / (1 - chance), 0.02)
                retention.append({**head, "difference_in_differences": gain, "p": 0.05, "q": 0.11})
            rows += [row, {**row, "metric": "accuracy_norm"}]
    return rows, retention


def make_evaluation(
    root: Path, rng: np.random.Generator, chance_only: bool = False, loss: float = 0.01
) -> None:
    shots, retention = make_shots(rng, chance_only)
    rows = make_plain_scores(loss) + shots
    report = {
        "schema": 1,
        "confidence": 0.95,
        "scores": rows,
        "retention": retention,
        "signature": "shots:0,1,2,4|seeds:0",
        **make_details(rows, retention),
    }
    write_json(root / "evaluate" / "scores.json", report)
    write_rows(root / "evaluate" / "flips.parquet", make_flips(), Flip)
    outputs = ["items.parquet", "flips.parquet", "scores.json"]
    done(root / "evaluate", outputs, {"items": 9000, "scores": len(rows)}, 640.0)


def make_details(rows: list[dict[str, Any]], retention: list[dict[str, Any]]) -> dict[str, Any]:
    """Return backward transfer, the rows of two seeds, and the families."""
    names = [f"{task} ({language})" for task, language, *_ in TASKS]
    transfers = [
        {"k": k, "chance_corrected": corrected, "tasks": names, "n": 1000, "p": 0.02, "q": 0.031}
        | {"transfer": around(-0.05 if corrected else -0.03, 0.01)}
        for k in SHOTS
        for corrected in (False, True)
    ]
    whole = [row for row in rows if row["kind"] == "multiple_choice"]
    by_seed = {
        "scores": [{**row, "seed": seed, "q": None} for seed in (0, 1) for row in whole],
        "retention": [{**row, "seed": seed, "q": None} for seed in (0, 1) for row in retention],
    }
    tables = {"scores": rows, "retention": retention, "backward_transfer": transfers}
    families = {name: {"comparisons": len(held), "rows": "all of them"} for name, held in tables.items()}
    return {"backward_transfer": transfers, "by_seed": by_seed, "families": families}


def make_flips() -> list[Flip]:
    """Return flips of one target and one forgetting task; the first question tries to be a tag."""
    flips = []
    for task, language, role, _ in (TASKS[0], TARGET_TASKS[0]):
        for number in range(30):
            lost = number % 10 == 0
            flips.append(
                Flip(
                    "lost" if lost else "gained", "multiple_choice", task, language, role, "", "", 0, "accuracy", -1,
                    f"item-{number}", f"passage-{number // 3}", float(lost), float(not lost), 2.5, -1.25, 1,
                    1 if lost else 0, 0 if lost else 1, SCRIPT if number == 0 else f"Question {number}?",
                    ["wrong one", "right one"],
                )
            )  # fmt: skip
    return flips
