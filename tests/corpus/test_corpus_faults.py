"""What the corpus step survives: kills, a full disk, files and workers that fail, changed settings, a second run."""

import errno
import gzip
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from shard_jobs import NumberJob, write_number

from anukul import cli, inputs, languages, pipeline
from anukul.config import CorpusSettings, ModelSettings, RunConfig, TextInput
from anukul.corpus import step, workers
from anukul.corpus.workers import Crew
from anukul.errors import UserError
from anukul.records import Document, Dropped, read_rows
from anukul.rundir import StaleStepError, StepFolder, read_json
from anukul.text.files import BadFiles
from small_disk import SmallDisk

HERE = Path(__file__).parent
NOUNS = ["राम", "सीता", "हरि", "किसान", "केटा", "आमा", "दाइ", "बहिनी", "शिक्षक", "मानिस"]
PLACES = ["गाउँमा", "घरमा", "बजारमा", "सहरमा", "खोलामा", "खेतमा", "विद्यालयमा", "बाटोमा"]
THINGS = ["भात", "किताब", "मकै", "पानी", "चिठी", "फूल", "काम", "दूध"]
VERBS = ["खायो", "पढ्यो", "रोप्यो", "किन्यो", "बेच्यो", "देख्यो", "लेख्यो", "ल्यायो"]


def sentences(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    parts = (NOUNS, PLACES, THINGS, VERBS)
    return [
        " ".join(draw.choice(words) + ("ले" if words is NOUNS else "") for words in parts) + "।"
        for _ in range(count)
    ]


def write_jsonl(path: Path, lines: list[str]) -> Path:
    text = "".join(json.dumps({"id": f"d{i % 50}", "text": line}) + "\n" for i, line in enumerate(lines))
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def make_config(path: Path, **settings: Any) -> RunConfig:
    item = TextInput(path=str(path), source="made", license="CC0-1.0")
    corpus = CorpusSettings(inputs=(item,), **settings)
    return RunConfig(name="t", language="npi_Deva", model=ModelSettings(path="unused"), corpus=corpus)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def done_jobs(folder: Path, jobs: list[NumberJob], count: int) -> list[int]:
    done: list[int] = []
    with closing(Crew(count)) as crew:
        crew.run(iter(jobs), write_number, lambda job: done.append(job.number))
    for number in done:
        assert (folder / f"n{number}" / "number").read_text() == str(number)
    return sorted(done)


def test_a_worker_that_is_killed_is_noticed_and_its_shard_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [NumberJob(tmp_path / f"n{i}", i, deaths={1: 1, 4: 2}.get(i, 0)) for i in range(6)]
    assert done_jobs(tmp_path, jobs, 2) == list(range(6))
    said = capsys.readouterr().err
    assert said.count("corpus: a worker was ended by SIGKILL; its shard is made again: number 4") == 2
    assert said.count("made again") == 3
    assert not list(tmp_path.glob(".*"))
    jobs[2] = NumberJob(tmp_path / "bad", 2, deaths=9)
    with pytest.raises(
        UserError, match=r"number 2: 3 workers in turn ended at it, the last one was ended by SIGKILL"
    ):
        done_jobs(tmp_path, jobs, 2)
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_what_goes_wrong_in_a_worker(tmp_path: Path, count: int) -> None:
    def fails(how: str) -> None:
        done_jobs(
            tmp_path, [NumberJob(tmp_path / f"n{i}", i, how=how if i == 1 else "") for i in range(3)], count
        )

    with pytest.raises(UserError, match=r"^number 1 is not liked$"):
        fails("user")
    with pytest.raises(OSError, match="No space left") as caught:
        fails("full")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises((RuntimeError, ZeroDivisionError), match="by nothing"):
        fails("bug")
    assert not (tmp_path / "n1").exists()


def test_the_same_bytes_for_any_number_of_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "SHARD_ROWS", 40)
    path = write_jsonl(tmp_path / "a.jsonl", sentences(300))
    for count in (1, 3):
        step.run(make_config(path, workers=count), tmp_path / str(count))
    assert contents(tmp_path / "1") == contents(tmp_path / "3")
    stats = read_json(tmp_path / "1" / "corpus" / "stats.json")["inputs"][0]
    assert stats["dropped"]["exact_duplicate"] > 5
    rows = read_rows(tmp_path / "1" / "corpus" / "documents.parquet", Document)
    assert sum(row.weight for row in rows) == stats["read"] == 300
    assert len({row.id for row in rows}) == len(rows)


def test_the_same_bytes_on_ray(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", sentences(90))
    child = (
        "import sys; from pathlib import Path; from anukul.config import RunConfig; from anukul.corpus import step\n"
        "step.SHARD_ROWS = 30\n"
        "step.run(RunConfig.model_validate_json(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))"
    )
    for engine in ("local", "ray"):
        config = make_config(path, engine=engine, workers=2)
        (tmp_path / "config.json").write_text(config.model_dump_json())
        command = [sys.executable, "-c", child, str(tmp_path / "config.json"), str(tmp_path / engine)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_killed_with_all_its_workers_at_any_moment(tmp_path: Path) -> None:
    config = make_config(write_jsonl(tmp_path / "a.jsonl", sentences(900)), workers=1)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    command = [
        sys.executable,
        str(HERE / "killed_corpus.py"),
        str(tmp_path / "config.json"),
        str(tmp_path),
        "6",
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[:5] == ["killed", "6", "of", "30", "stood"]
    stood = [int(count) for count in said[5:]]
    assert stood == sorted(stood)  # a kill takes back nothing
    assert stood[0] < 15 < stood[-1]  # while rows were judged, and while they were sorted out
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


LONG = """
import sys, time
from pathlib import Path
from anukul import pipeline
from anukul.config import RunConfig
from anukul.corpus import step
step.SHARD_ROWS = 60
config = RunConfig.model_validate_json(Path(sys.argv[1]).read_text())
pipeline.run_steps(config, "", Path(sys.argv[2]), ("corpus",))
"""


def children(process: int) -> list[int]:
    """The workers of a process: what it has started that was spawned to work."""
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(one) for one in found if "spawn_main" in Path(f"/proc/{one}/cmdline").read_text()]


def alive(process: int) -> bool:
    """Whether a process is there, and not only waits for its end to be noticed."""
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def wait_for_the_end(processes: list[int]) -> None:
    deadline = time.monotonic() + 5
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, "a worker outlives the run"
        time.sleep(0.01)


WRITING = """
import sys
from pathlib import Path
from shard_jobs import NumberJob, write_number
from anukul.corpus.workers import Crew
folder = Path(sys.argv[1])
Crew(2).run(iter([NumberJob(folder / f"n{i}", i, how="long") for i in range(2)]), write_number, print)
"""


def test_workers_in_the_middle_of_a_shard_end_with_the_run(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(HERE)}
    )
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob(".*.tmp/ticks"))) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    workers_then = children(process.pid)
    assert len(workers_then) == 2 and all(map(alive, workers_then))
    process.kill()
    process.wait()
    wait_for_the_end(workers_then)
    ticks = contents(tmp_path)
    time.sleep(0.2)
    assert contents(tmp_path) == ticks


def test_a_killed_parent_leaves_no_worker_and_a_killed_worker_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed without its workers, then a worker alone is; the end is that of an undisturbed run."""
    monkeypatch.setattr(step, "SHARD_ROWS", 60)
    path = write_jsonl(tmp_path / "a.jsonl", sentences(1500))
    config = make_config(path, workers=2)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    root = tmp_path / "run"
    command = [sys.executable, "-c", LONG, str(tmp_path / "config.json"), str(root)]

    def standing() -> int:
        return len(list((root / "corpus").glob("parts/*/[!.]*/stats.json")))

    def started(shards: int) -> tuple["subprocess.Popen[str]", list[int]]:
        """Run until so many shards stand and two workers are at work."""
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 120
        while standing() < shards or len(children(process.pid)) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        return process, children(process.pid)

    process, workers_then = started(shards=3)
    process.kill()
    process.communicate()
    wait_for_the_end(workers_then)
    left = contents(root)
    time.sleep(0.3)
    assert contents(root) == left  # nobody writes any more
    assert 3 <= standing() < 25
    process, (first, _) = started(shards=30)
    os.kill(first, signal.SIGKILL)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert said.count("corpus: a worker was ended by SIGKILL; its shard is made again") == 1
    step.run(make_config(path, workers=1), tmp_path / "whole")
    made = contents(root / "corpus")
    assert made.pop("done.json")
    assert made == contents(tmp_path / "whole" / "corpus")


@pytest.mark.parametrize("count", [1, 2])
def test_a_full_disk(
    tmp_path: Path,
    small_disk: SmallDisk,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setattr(step, "SHARD_ROWS", 60)
    config = make_config(write_jsonl(tmp_path / "a.jsonl", sentences(1200)), workers=count)
    root = small_disk.path / "run"

    def run() -> int:
        return cli._guarded(lambda: pipeline.run_steps(config, "", root, ("corpus",)))

    small_disk.fill()  # not even what stands before the first shard
    assert run() == 2
    small_disk.fill(250_000, largest=20_000)  # the first shards fit, a whole folder of them does not
    assert run() == 2
    for line in said_at_last(capsys):
        assert line.startswith(f"anukul: {root}")
        assert "cannot be written: the disk or the quota is full (" in line and "bytes free now)" in line
    shards = list(root.glob("corpus/parts/judged/*/"))
    assert shards
    assert all((shard / "stats.json").exists() for shard in shards if not shard.name.startswith("."))
    assert not (root / "corpus" / "done.json").exists()
    small_disk.make_space()
    assert run() == 0
    step.run(config, tmp_path / "whole")
    made = contents(root / "corpus")
    assert made.pop("done.json")
    assert made == contents(tmp_path / "whole" / "corpus")


def said_at_last(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines for the user, without the system's reason where files may not grow instead of a disk being full."""
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("anukul: ")]
    assert len(lines) == 2
    grown = "a file reached the largest size that is allowed"
    return [line.replace(grown, "the disk or the quota is full") for line in lines]


def test_a_file_that_may_not_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(write_jsonl(tmp_path / "a.jsonl", sentences(300)), workers=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        code = cli._guarded(lambda: pipeline.run_steps(config, "", tmp_path / "run", ("corpus",)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2 and "a file reached the largest size that is allowed" in capsys.readouterr().err
    assert step.run(config, tmp_path / "run").rows["documents"] > 100


def make_folder(folder: Path, bad: int) -> Path:
    """Five files of a hundred rows, the last `bad` of them cut short."""
    folder.mkdir()
    for number in range(5):
        path = write_jsonl(folder / f"part-{number}.jsonl.gz", sentences(100, seed=number // 4))
        if number >= 5 - bad:
            lines = "".join(
                json.dumps({"text": line, "pad": os.urandom(40).hex()}) + "\n" for line in sentences(3000)
            )
            data = gzip.compress(lines.encode())
            path.write_bytes(data[: len(data) - 200])
    return folder


def test_one_corrupt_file_among_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = make_config(make_folder(tmp_path / "in", 1))
    step.run(config, tmp_path)
    reason = "ends too early: it is cut short"
    assert f"corpus: skipped {tmp_path}/in/part-4.jsonl.gz: {reason}" in capsys.readouterr().err
    stats = read_json(tmp_path / "corpus" / "stats.json")["inputs"][0]
    assert (stats["files"], stats["bad_files"]) == (5, {"part-4.jsonl.gz": reason})
    assert stats["dropped"]["corrupt_file"] > 1000
    assert stats["read"] == stats["kept"] + sum(stats["dropped"].values())
    rows = read_rows(tmp_path / "corpus" / "documents.parquet", Document)
    assert {row.input.partition(":")[0] for row in rows} == {"part-0.jsonl.gz"}  # 1 to 3 hold the same
    gone = read_rows(tmp_path / "corpus" / "dropped.parquet", Dropped)
    details = {row.detail for row in gone if row.rule == "corrupt_file"}
    assert details == {f"what was read before the file broke off: {reason}"}


def test_more_corrupt_files_than_are_allowed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", 2)
    message = (
        r"2 of 5 files cannot be read: .*part-3.*; .*part-4.*More than corpus.max_bad_files allows \(1\)"
    )
    with pytest.raises(UserError, match=message):
        step.run(make_config(folder), tmp_path)
    with pytest.raises(UserError, match=r"1 of 5 files cannot be read: .*allows \(0\)"):
        step.run(make_config(folder, max_bad_files=0.0), tmp_path)
    assert step.run(make_config(folder, max_bad_files=0.4), tmp_path).rows["documents"] > 50
    assert BadFiles.within(0.01, 1).budget == 0
    assert [BadFiles.within(0.01, total).budget for total in (2, 100, 1000)] == [1, 1, 10]
    with pytest.raises(UserError, match=r"part-4.jsonl.gz: ends too early"):
        step.run(make_config(folder / "part-4.jsonl.gz"), tmp_path / "one")


CHANGED: dict[str, Any] = {
    "inputs": [{"path": "PATH", "license": "CC-BY-4.0"}],
    "replay": [{"path": "PATH"}],
    "min_characters": 11,
    "max_characters": 19_999,
    "min_script_share": 0.6,
    "language_check": False,
    "glotlid": "PATH",
    "mask_pii": False,
    "quality": {"min_stop_words": 0},
    "dedup": {"min_similarity": 0.8},
    "decontaminate": None,
}


def test_a_changed_setting_with_the_old_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", sentences(30))
    config = make_config(path)
    root = tmp_path / "run"
    pipeline.run_steps(config, "", root, ("corpus",))
    assert set(CHANGED) | pipeline.NOT_OF_CORPUS == set(CorpusSettings.model_fields)
    for name, value in CHANGED.items():
        data = json.loads(config.model_dump_json())
        data["corpus"][name] = json.loads(json.dumps(value).replace("PATH", str(path)))
        with pytest.raises(
            StaleStepError, match=rf"(corpus\.{name}|inputs\.glotlid).*Redo it with --redo corpus"
        ):
            pipeline.run_steps(RunConfig.model_validate(data), "", root, ("corpus",))
    for name, value in {"workers": 1, "max_bad_files": 0.5, "engine": "ray", "ray_address": "x"}.items():
        same = config.model_copy(update={"corpus": config.corpus.model_copy(update={name: value})})  # type: ignore[union-attr]  # it has one
        pipeline.run_steps(same, "", root, ("corpus",))
    changed = tmp_path / "languages"
    changed.mkdir()
    folder = Path(languages.__file__).parent
    for file in folder.glob("*.yaml"):
        text = yaml.safe_load(file.read_text())
        if file.stem == "npi_Deva":
            text["thresholds"]["margin"] += 1
        (changed / file.name).write_text(yaml.safe_dump(text))
    with monkeypatch.context() as patch:
        patch.setattr(inputs, "resources", SimpleNamespace(files=lambda name: changed))
        with pytest.raises(StaleStepError, match=r"inputs.languages/npi_Deva.yaml: "):
            pipeline.run_steps(config, "", root, ("corpus",))
    write_jsonl(path, sentences(31))
    with pytest.raises(StaleStepError, match=r"inputs.inputs.0: "):
        pipeline.run_steps(config, "", root, ("corpus",))


def test_a_changed_evaluation_set_asks_for_the_corpus_again(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", sentences(30))
    held_out = tmp_path / "held.txt"
    held_out.write_text("एक\n")
    data = json.loads(make_config(path).model_dump_json())
    data["evaluate"] = {"bits_per_byte": [{"name": "held", "path": str(held_out), "language": "npi_Deva"}]}
    config = RunConfig.model_validate(data)
    first = inputs.corpus_inputs(config)
    held_out.write_text("दुई\n")
    changed = inputs.corpus_inputs(config)
    assert [key for key in first if first[key] != changed[key]] == ["evaluate.bits_per_byte.0.path"]


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", sentences(30))
    (tmp_path / "run.yaml").write_text(
        f"name: t\nlanguage: npi_Deva\nmodel: {{path: unused}}\ncorpus: {{inputs: [{{path: {path}}}]}}\n"
    )
    hold = (
        "import sys; from pathlib import Path; from anukul.rundir import lock\n"
        "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    root = tmp_path / "run"
    command = [sys.executable, "-m", "anukul.cli", "corpus", str(tmp_path / "run.yaml"), "--run", str(root)]
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        second = subprocess.run(command, capture_output=True, text=True)
        first.send_signal(signal.SIGKILL)  # a lock dies with its process
    assert second.returncode == 2
    assert second.stderr == (
        f"anukul: {root}: another anukul command is working in this run folder; wait or use --run\n"
    )
    assert subprocess.run(command, capture_output=True).returncode == 0
    assert StepFolder(root, "corpus").outputs()


def test_what_a_killed_run_left_behind_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / "judged" / ".corpus-0000-000001.123-4.tmp"
    left.mkdir(parents=True)
    (left / "kept.parquet").write_text("half")
    workers.clear(tmp_path)
    assert list((tmp_path / "judged").iterdir()) == []
