"""What the synth step survives: kills, a full disk, files that fail, changed settings, a second run."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from test_synth_step import (
    ENGLISH,
    LOOSE,
    NEPALI,
    Dying,
    contents,
    make_config,
    translate_settings,
    write_corpus,
    write_instructions,
    write_pairs,
)

from anukul import cli, pipeline
from anukul.config import InstructionInput, PairInput, RunConfig, SynthSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.records import Dropped, Instruction, Pair, read_rows
from anukul.rundir import StaleStepError, read_json
from anukul.synth import state, step, translations
from anukul.synth.translate import make_translator
from small_disk import SmallDisk

HERE = Path(__file__).parent
TEXTS = [f"{text} {other}" for text in NEPALI for other in NEPALI[:2]]


def many_pairs(count: int) -> list[tuple[str, str]]:
    return [(f"{ENGLISH[i % 7]} {i}", f"{NEPALI[i % 7]} {i}") for i in range(count)]


def many_instructions(count: int, start: int = 0) -> list[dict[str, str]]:
    return [
        {"instruction": f"के हो {i}?", "output": "काठमाडौं।", "language": "npi_Deva"}
        for i in range(start, start + count)
    ]


def whole_config(tmp_path: Path, model: Path) -> RunConfig:
    """Pairs, instructions and translation, in shards of two: 10, 5 and 7 of them."""
    return make_config(
        pairs=(write_pairs(tmp_path / "p.jsonl", [*many_pairs(19), many_pairs(1)[0]]),),
        instructions=(write_instructions(tmp_path / "i.jsonl", many_instructions(10)),),
        translate=translate_settings(model),
        **LOOSE,
    )


def test_killed_at_any_moment_gives_the_same_bytes(tmp_path: Path, ending_model: Path) -> None:
    config = whole_config(tmp_path, ending_model)
    (tmp_path / "config.json").write_text(config.model_dump_json())
    for name in ("whole", "killed"):
        write_corpus(tmp_path / name, TEXTS)
    total = 10 + 5 + 7
    command = [sys.executable, str(HERE / "killed_synth.py"), str(tmp_path / "config.json"), str(tmp_path)]
    done = subprocess.run([*command, "8", str(total)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout.split()
    assert said[:5] == ["killed", "8", "of", str(total), "stood"]
    stood = [int(count) for count in said[5:]]
    assert stood == sorted(stood)  # a kill takes back nothing
    assert stood[0] < 10 and stood[-1] > 15  # while pairs were read, and while documents were translated
    assert contents(tmp_path / "killed" / "synth") == contents(tmp_path / "whole" / "synth")
    assert len(read_rows(tmp_path / "whole" / "synth" / "pairs.parquet", Pair)) > 25


def test_killed_at_its_end_nothing_is_translated_again(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last file and the end of the step the shards are deleted: half of them are not taken for all."""
    config = whole_config(tmp_path, ending_model)
    for name in ("whole", "killed"):
        write_corpus(tmp_path / name, TEXTS)
    whole = step.run(config, tmp_path / "whole")
    root = tmp_path / "killed"

    remove = shutil.rmtree

    def half(folder: Path, **more: Any) -> None:
        if folder.name != ".parts.discarded" or not folder.exists():
            remove(folder, **more)
            return
        for name in ("pairs", "translations"):
            for shard in sorted((folder / name).iterdir())[::2]:
                (shard / "pairs.parquet").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            step.run(config, root)
    assert (root / "synth" / ".parts.discarded").exists()
    real = make_translator(config.synth.translate, load("npi_Deva"), load("eng_Latn"), 0)  # type: ignore[union-attr,arg-type]  # it has one
    counted = Dying(real, 0)
    monkeypatch.setattr(translations, "make_translator", lambda *_: counted)
    assert step.run(config, root) == whole
    assert counted.asked == 0
    assert contents(root / "synth") == contents(tmp_path / "whole" / "synth")


@pytest.mark.parametrize("kind", ["pairs", "instructions", "translations"])
def test_a_full_disk(
    tmp_path: Path,
    small_disk: SmallDisk,
    ending_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr(step, "SHARD", 20)
    made: dict[str, Any] = {
        "pairs": {"pairs": (write_pairs(tmp_path / "p.jsonl", many_pairs(500)),)},
        "instructions": {"instructions": (write_instructions(tmp_path / "i.jsonl", many_instructions(500)),)},
        "translations": {"translate": translate_settings(ending_model, shard_rows=1), **LOOSE},
    }
    config = make_config(**made[kind])
    root = small_disk.path / "run"
    for each in (root, tmp_path / "whole"):
        write_corpus(each, TEXTS)

    def run() -> int:
        return cli._guarded(lambda: pipeline.run_steps(config, "", root, ("synth",)))

    def refused() -> None:
        assert run() == 2
        (line,) = [said for said in capsys.readouterr().err.splitlines() if said.startswith("anukul: ")]
        assert line.startswith(f"anukul: {root}") and "cannot be written: " in line
        assert ("disk or the quota is full (" if small_disk.mounted else "the largest size") in line

    small_disk.fill()  # not even what stands before the first shard
    refused()
    # the first shards fit, all of them do not
    small_disk.fill(120_000 if kind == "translations" else 250_000, largest=5_000)
    refused()
    shards = list((root / "synth" / "parts" / kind).glob("[!.]*"))
    assert shards if small_disk.mounted else True
    assert all((shard / "stats.json").stat().st_size for shard in shards)
    assert not (root / "synth" / "done.json").exists()
    small_disk.make_space()
    assert run() == 0
    result = step.run(config, tmp_path / "whole")
    assert sum(result.rows[name] for name in ("pairs", "instructions")) > 10
    held = contents(root / "synth")
    assert held.pop("done.json")
    assert held == contents(tmp_path / "whole" / "synth")


def cut_short(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a compressed file whose end is missing; some rows can be read."""
    padded = [{**row, "pad": os.urandom(400).hex()} for row in rows]
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in padded).encode())
    path.write_bytes(data[: len(data) * 2 // 3])


def damaged(folder: Path, kind: str, bad: int) -> SynthSettings:
    """Five files of 40 rows, the last `bad` of them cut short, and a file of another kind beside them."""
    folder.mkdir()
    for number in range(5):
        rows = many_instructions(40, 40 * number)
        if kind == "pairs":
            rows = [{"source": s, "target": t} for s, t in many_pairs(200)[40 * number : 40 * number + 40]]
        path = folder / f"part-{number}.jsonl.gz"
        if number >= 5 - bad:
            cut_short(path, rows)
        else:
            path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    whole = write_instructions(folder.parent / "i.jsonl", many_instructions(10, 1000))
    if kind == "instructions":
        return SynthSettings(instructions=(whole, InstructionInput(path=str(folder), source="s")))
    return SynthSettings(instructions=(whole,), pairs=(PairInput(source=str(folder), name="s"),))


def config_of(settings: SynthSettings) -> RunConfig:
    return make_config().model_copy(update={"synth": settings})


@pytest.mark.parametrize("kind", ["pairs", "instructions"])
def test_one_corrupt_file_among_many(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SHARD", 30)
    config = config_of(damaged(tmp_path / "in", kind, 1))
    result = step.run(config, tmp_path / "run")
    reason = "ends too early: it is cut short"
    said = capsys.readouterr().err
    assert said.count(f"synth: skipped {tmp_path}/in/part-4.jsonl.gz: {reason}") == 1
    place = -1 if kind == "instructions" else 0
    stats = read_json(tmp_path / "run" / "synth" / "stats.json")["inputs"][place]
    assert (stats["files"], stats["bad_files"]) == (5, {"part-4.jsonl.gz": reason})
    assert stats["kept"] == 160 and 0 < stats["dropped"]["corrupt_file"] < 40
    assert stats["read"] == stats["kept"] + sum(stats["dropped"].values())
    assert result.rows[kind] == (170 if kind == "instructions" else 160)
    gone = read_rows(tmp_path / "run" / "synth" / "dropped.parquet", Dropped)
    assert {row.detail for row in gone} == {f"what was read before the file broke off: {reason}"}
    assert all(row.text for row in gone)
    step.run(config, tmp_path / "again")
    assert contents(tmp_path / "run") == contents(tmp_path / "again")


@pytest.mark.parametrize("kind", ["pairs", "instructions"])
def test_more_corrupt_files_than_are_allowed(tmp_path: Path, kind: str) -> None:
    settings = damaged(tmp_path / "in", kind, 2)
    with pytest.raises(
        UserError,
        match=r"2 of 6 files cannot be read: .*part-3.*; .*part-4.*More than synth.max_bad_files allows \(1\)",
    ):
        step.run(config_of(settings), tmp_path / "run")
    assert not (tmp_path / "run" / "synth" / "pairs.parquet").exists()
    with pytest.raises(UserError, match=r"1 of 6 files cannot be read: .*allows \(0\)"):
        step.run(config_of(settings.model_copy(update={"max_bad_files": 0.0})), tmp_path / "run")
    more = config_of(settings.model_copy(update={"max_bad_files": 0.4}))
    assert step.run(more, tmp_path / "run").rows[kind] in (120, 130)
    alone = {"path": str(tmp_path / "in" / "part-4.jsonl.gz")}
    if kind == "pairs":
        alone = {"source": alone["path"]}
    with pytest.raises(UserError, match=r"part-4.jsonl.gz: ends too early"):
        step.run(make_config(**{kind: (alone,)}), tmp_path / "one")


def test_a_corrupt_side_of_aligned_files_loses_that_input_alone(tmp_path: Path) -> None:
    pairs = many_pairs(60)
    for name, place in (("en", 0), ("ne", 1)):
        text = "".join(f"{pair[place]}\n" for pair in pairs).encode()
        (tmp_path / f"good.{name}.txt.gz").write_bytes(gzip.compress(text))
        (tmp_path / f"bad.{name}.txt.gz").write_bytes(gzip.compress(text)[: -30 if name == "ne" else None])

    def item(name: str) -> PairInput:
        sides = [str(tmp_path / f"{name}.{side}.txt.gz") for side in ("en", "ne")]
        return PairInput(source=sides[0], target=sides[1], name=name)

    step.run(make_config(pairs=(item("bad"), item("good"))), tmp_path / "run")
    bad, good = read_json(tmp_path / "run" / "synth" / "stats.json")["inputs"]
    assert list(bad["bad_files"]) == ["bad.ne.txt.gz"] and bad["kept"] == 0
    assert good["bad_files"] == {} and good["kept"] == good["read"] == 60
    with pytest.raises(UserError, match=r"bad\.ne\.txt\.gz: ends too early"):
        step.run(make_config(pairs=(item("bad"),)), tmp_path / "alone")
    whole = write_instructions(tmp_path / "i.jsonl", many_instructions(3))
    with pytest.raises(UserError, match="none of the pairs is left: 0 read, 1 files cannot be read"):
        step.run(make_config(pairs=(item("bad"),), instructions=(whole,)), tmp_path / "none")


class Failing:
    """A translator that no text gets through."""

    name = "failing"

    def translate(self, texts: list[str]) -> list[Any]:
        from anukul.synth.translate import Translation

        return [Translation("", False, 0, "translation_failed", "cannot") for _ in texts]


def test_instructions_whose_translation_fails_stop_the_step_too(
    tmp_path: Path, ending_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "SHARD", 4)
    monkeypatch.setattr(state, "make_translator", lambda *_: Failing())
    rows = [{"instruction": f"Tell me about {i}.", "output": f"{ENGLISH[6]} {i}"} for i in range(40)]
    item = write_instructions(tmp_path / "i.jsonl", rows)
    asked = item.model_copy(update={"translate": translate_settings(ending_model)})
    with pytest.raises(
        UserError, match=r"synth\.instructions\.0\.translate: 12 translations failed, more than .*max_failed"
    ):
        step.run(make_config(instructions=(asked,)), tmp_path)
    few = asked.model_copy(update={"limit": 8, "keep_original": True})
    step.run(make_config(instructions=(few,)), tmp_path / "few")
    assert len(read_rows(tmp_path / "few" / "synth" / "instructions.parquet", Instruction)) == 8


CHANGED: dict[str, Any] = {
    "pairs": [],
    "instructions": [],
    "translate": {"shard_rows": 7},
    "max_length_ratio": 2.5,
    "max_copy_share": 0.4,
    "max_untranslated_words": 4,
    "min_number_agreement": 0.5,
    "source_language_check": True,
    "unique_side": "none",
    "forced_score": {"translator": "MODEL"},
    "round_trip": {"translator": "MODEL"},
    "samples": 3,
}
SAME: dict[str, Any] = {"workers": 3, "max_bad_files": 0.5, "engine": "ray", "ray_address": "x"}


def test_a_changed_setting_with_the_old_folder_is_refused(tmp_path: Path, ending_model: Path) -> None:
    root = tmp_path / "run"
    write_corpus(root, TEXTS)
    config = whole_config(tmp_path, ending_model)
    pipeline.run_steps(config, "", root, ("synth",))
    assert set(CHANGED) | set(SAME) == set(SynthSettings.model_fields)
    plain = json.loads(config.model_dump_json())
    for name, value in CHANGED.items():
        data = json.loads(json.dumps(plain))
        model = {"model": str(ending_model)}
        if name == "translate":
            data["synth"]["translate"] |= value
        elif name in ("forced_score", "round_trip"):
            data["synth"][name] = {"translator": model}
        else:
            data["synth"][name] = value
        with pytest.raises(
            StaleStepError, match=rf"(settings\.synth|inputs)\.{name}.*Redo it with --redo synth"
        ):
            pipeline.run_steps(RunConfig.model_validate(data), "", root, ("synth",))
    for name, value in SAME.items():
        data = {**plain, "synth": {**plain["synth"], name: value}}
        pipeline.run_steps(RunConfig.model_validate(data), "", root, ("synth",))
    write_pairs(tmp_path / "p.jsonl", many_pairs(3))
    with pytest.raises(StaleStepError, match=r"inputs\.pairs\.0\.source: "):
        pipeline.run_steps(config, "", root, ("synth",))


def test_the_command_refuses_a_changed_filter_and_a_second_run_in_one_line(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.jsonl", many_pairs(20))
    (tmp_path / "run.yaml").write_text(
        "name: t\nlanguage: npi_Deva\nmodel: {path: unused}\n"
        f"synth: {{pairs: [{{source: {tmp_path / 'p.jsonl'}}}]}}\n"
    )
    root = tmp_path / "run"
    command = [sys.executable, "-m", "anukul.cli", "synth", str(tmp_path / "run.yaml"), "--run", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before = contents(root)
    changed = [*command, "-s", "synth.max_length_ratio=2.5", "-s", "synth.max_copy_share=0.25"]
    refused = subprocess.run(changed, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr == (
        f"anukul: {root}: step 'synth' was made with other settings or inputs: "
        "settings.synth.max_length_ratio: 3.0 -> 2.5; settings.synth.max_copy_share: 0.5 -> 0.25. "
        "Redo it with --redo, or use another --run folder\n"
    )
    hold = (
        "import sys; from pathlib import Path; from anukul.rundir import lock\n"
        "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        second = subprocess.run([*command, "--redo"], capture_output=True, text=True)
        first.send_signal(signal.SIGKILL)
    assert second.returncode == 2
    assert second.stderr == (
        f"anukul: {root}: another anukul command is working in this run folder; wait or use --run\n"
    )
    assert contents(root) == before
