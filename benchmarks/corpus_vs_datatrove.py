"""The corpus step against datatrove: the same steps over the same generated Devanagari with known duplicates.

    python benchmarks/corpus_vs_datatrove.py [--megabytes 100] [--workers 2] [--datatrove PYTHON] [--work FOLDER]

Both repair mojibake with ftfy, ask for the language, filter as Gopher does with FineWeb-2's thresholds for Nepali, and
drop near duplicates by MinHash, 14 bands of 8 rows over 5-grams of words; in 2 processes each, one after the other. The
time is that of the whole command, start of Python and writing of the results included. Ours does more on the way, which
is not taken off: all rules of normalisation, checks by paragraph, reasons for every dropped row, shards that survive a
kill. Ours is also timed on a quarter and a half of the text: it must be linear. Memory is the highest sum over the
processes of a command, shared pages counted once (PSS).

PYTHON is one that has datatrove (see corpus_datatrove.py); default: this one. With --megabytes below 20 start-up
decides, and the ratio says little.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from devanagari import PARTS, generate

HERE = Path(__file__).parent
FINEWEB2 = 27e9  # bytes of Nepali text in FineWeb-2 (npi_Deva)
DUPLICATES = ("exact_duplicate", "near_duplicate")
CONFIG = """
name: bench
language: npi_Deva
model: {{path: unused}}
corpus:
  inputs:
    - {{path: "{folder}/part-*.jsonl", source: generated, license: CC0-1.0}}
  mask_pii: false
  decontaminate: null
  workers: {workers}
"""


@dataclass(slots=True)
class Outcome:
    """What a side did with the documents."""

    kept: dict[str, str] = field(default_factory=dict)  # text by id
    duplicates: set[str] = field(default_factory=set)
    seconds: float = 0.0
    cpu: float = 0.0  # seconds of all processes, as last seen of each
    megabytes: float = 0.0  # of memory at its peak
    detail: str = ""


def tree_memory(process: psutil.Process, cpu: dict[int, float]) -> float:
    """Return the proportional set sizes of a process and its children, in MB; note their CPU seconds."""
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss / 1e6
            times = one.cpu_times()
            cpu[one.pid] = times.user + times.system
        except psutil.Error:  # it has just ended
            continue
    return total


def timed(command: list[str], found: Outcome) -> str:
    """Run a command, note its time, CPU and memory, and return what it printed."""
    quiet = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    start = time.perf_counter()
    pipe = subprocess.PIPE
    running = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | quiet)
    peak = 0.0
    cpu: dict[int, float] = {}
    ended = threading.Event()

    def watch() -> None:
        nonlocal peak
        process = psutil.Process(running.pid)
        while not ended.wait(0.2):
            try:
                peak = max(peak, tree_memory(process, cpu))
            except psutil.Error:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    printed, said = running.communicate()
    found.seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    if running.returncode:
        raise SystemExit(f"{said[-3000:]}\nfailed with {running.returncode}: {' '.join(command)}")
    found.megabytes, found.cpu = peak, sum(cpu.values())
    return printed


def run_anukul(folder: Path, output: Path, workers: int) -> Outcome:
    output.mkdir(parents=True)
    config = output / "run.yaml"
    config.write_text(CONFIG.format(folder=folder, workers=workers), encoding="utf-8")
    run = output / "run"
    code = "from anukul.cli import main; main()"
    command = [sys.executable, "-W", "ignore", "-c", code, "corpus", str(config), "--run", str(run)]
    found = Outcome()
    timed(command, found)
    documents = pq.read_table(run / "corpus" / "documents.parquet", columns=["id", "text"]).to_pylist()
    found.kept = {row["id"]: row["text"] for row in documents}
    dropped = pq.read_table(run / "corpus" / "dropped.parquet", columns=["id", "rule"]).to_pylist()
    found.duplicates = {row["id"] for row in dropped if row["rule"] in DUPLICATES}
    return found


def run_datatrove(python: str, folder: Path, output: Path, workers: int) -> Outcome:
    command = [python, "-W", "ignore", str(HERE / "corpus_datatrove.py"), str(folder), str(output)]
    found = Outcome()
    printed = timed([*command, "--workers", str(workers)], found)
    report = json.loads(printed.splitlines()[-1])
    stages = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in report["seconds"].items())
    found.detail = f"tokenizer {report['tokenizer']}; {stages}"
    found.kept = dict(_rows(output / "kept"))
    found.duplicates = {identity for identity, _ in _rows(output / "filtered")} - set(found.kept)
    return found


def _rows(folder: Path) -> list[tuple[str, str]]:
    files = sorted(folder.glob("*.jsonl"))
    assert len(files) == PARTS, f"{folder}: {len(files)} files"
    lines = [line for file in files for line in file.read_text(encoding="utf-8").split("\n") if line]
    return [(row["id"], row["text"]) for row in map(json.loads, lines)]


def judge(outcome: Outcome, truth: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare with the truth: recall by kind, precision and recall of duplicates, what the filters kept.

    Each copy is of an original of its own. A pair that passed the filters is resolved when either is dropped as a
    duplicate; every other document dropped as one is a mistake.
    """
    passed = set(outcome.kept) | outcome.duplicates
    resolved: dict[str, list[bool]] = {}
    right = pairs = 0
    for row in truth:
        if not row["of"] or row["id"] not in passed or row["of"] not in passed:
            continue
        gone = len({row["id"], row["of"]} & outcome.duplicates)
        resolved.setdefault(row["kind"], []).append(gone > 0)
        if row["kind"] == "exact" or row["kind"].startswith("near"):
            right += gone > 0
            pairs += 1
    kinds: dict[str, list[bool]] = {}
    for row in truth:
        kinds.setdefault(row["kind"], []).append(row["id"] in passed)
    repaired = [row for row in truth if row["kind"] == "mojibake"]
    good = sum(outcome.kept.get(row["id"], "").split() == row["repaired"].split() for row in repaired)
    return {
        "recall": right / max(1, pairs),
        "precision": right / max(1, len(outcome.duplicates)),
        "by_kind": {kind: sum(held) / len(held) for kind, held in sorted(resolved.items())},
        "passed": {kind: sum(held) / len(held) for kind, held in sorted(kinds.items())},
        "repaired": good / max(1, len(repaired)),
    }


def cost(outcome: Outcome) -> str:
    return f"{outcome.seconds:.1f} s (CPU {outcome.cpu:.1f} s), peak {outcome.megabytes:.0f} MB"


def report(name: str, size: float, outcome: Outcome, truth: list[dict[str, Any]]) -> dict[str, Any]:
    found = judge(outcome, truth)
    rate = f"{size / 1e6 / outcome.seconds:.2f} MB/s"
    print(f"{name}: {cost(outcome)}, {rate}")
    if outcome.detail:
        print(f"  {outcome.detail}")
    print(
        f"  duplicates: recall {found['recall']:.4f}, precision {found['precision']:.4f}; share of pairs resolved:"
    )
    print("   ", ", ".join(f"{kind} {share:.3f}" for kind, share in found["by_kind"].items()))
    print("  share that passes the filters:")
    print("   ", ", ".join(f"{kind} {share:.3f}" for kind, share in found["passed"].items()))
    print(f"  mojibake repaired to the letter: {found['repaired']:.3f}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--datatrove", default=sys.executable, help="a Python that has datatrove")
    parser.add_argument("--work", type=Path, help="folder for texts and results; default: a temporary one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="without datatrove")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.work) as temporary:
        work = Path(temporary)
        times = []
        for share in (0.25, 0.5, 1.0):
            folder = work / f"texts-{share}"
            size = generate(folder, asked.megabytes * share, asked.seed)
            ours = run_anukul(folder, work / f"anukul-{share}", asked.workers)
            times.append((size, ours.seconds, ours.megabytes))
            print(f"anukul: {size / 1e6:.1f} MB: {cost(ours)}", flush=True)
        lines = (folder / "truth.jsonl").read_text(encoding="utf-8").split("\n")
        truth = [json.loads(line) for line in lines if line]
        mine = report("anukul", size, ours, truth)
        # the slope leaves out what is the same for any size, such as starting Python
        slope = (times[2][1] - times[0][1]) / (times[2][0] - times[0][0])
        linear = (times[2][1] - times[1][1]) / (times[1][1] - times[0][1]) / 2
        print(
            f"linear: the second half took {linear:.2f} times as long for each MB as the second quarter (1: linear)"
        )
        hours = FINEWEB2 * slope / 3600
        print(
            f"extrapolated, not run: FineWeb-2's 27 GB of Nepali in {hours:.1f} h with {asked.workers} processes"
        )
        if asked.alone:
            return
        theirs = run_datatrove(asked.datatrove, folder, work / "datatrove", asked.workers)
        other = report("datatrove", size, theirs, truth)
        checks = {
            f"time, datatrove / anukul: {theirs.seconds / ours.seconds:.2f} (3 or more)": theirs.seconds
            >= 3 * ours.seconds,
            f"recall {mine['recall']:.4f}, datatrove {other['recall']:.4f}": mine["recall"]
            >= other["recall"],
            f"precision {mine['precision']:.4f}, datatrove {other['precision']:.4f}": mine["precision"]
            >= other["precision"],
            f"peak memory {ours.megabytes:.0f} MB (under 1500)": ours.megabytes < 1500,
        }
        for text, good in checks.items():
            print(f"{'yes' if good else 'NO '}  {text}")


if __name__ == "__main__":
    main()
