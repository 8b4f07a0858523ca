"""Translation on a local Ray cluster of two workers gives the rows that one process gives; in a process of its own."""

import subprocess
import sys
from pathlib import Path

from test_synth_step import LOOSE, NEPALI, contents, make_config, translate_settings, write_corpus

from anukul import cluster
from anukul.synth import step

CHILD = """
import sys, warnings
from pathlib import Path
from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.synth import step
config = RunConfig.model_validate_json(Path(sys.argv[1]).read_text())
for root in sys.argv[2:]:
    try:
        step.run(config, Path(root))
    except UserError as error:
        print("refused:", error)
"""


def test_a_shard_is_the_same_on_ray(tmp_path: Path, ending_model: Path) -> None:
    texts = [f"{text} {other}" for text in NEPALI for other in NEPALI[:2]]
    translate = translate_settings(ending_model, shard_rows=3)
    local = make_config(translate=translate, **LOOSE)
    write_corpus(tmp_path / "local", texts)
    step.run(local, tmp_path / "local")
    on_ray = make_config(translate=translate, **LOOSE, engine="ray", workers=2)
    (tmp_path / "config.json").write_text(on_ray.model_dump_json())
    write_corpus(tmp_path / "whole", texts)
    # a run that stopped after two shards of five goes on where it stopped
    write_corpus(tmp_path / "resumed", texts)
    (tmp_path / "none" / "corpus").mkdir(parents=True)
    roots = [str(tmp_path / name) for name in ("whole", "resumed", "none")]
    half = make_config(translate=translate.model_copy(update={"limit": 6}), **LOOSE)
    write_corpus(tmp_path / "half", texts)
    kept: list[Path] = []
    remove = step.Shards.remove
    try:
        step.Shards.remove = lambda self: kept.append(self.folder)  # type: ignore[method-assign]
        step.run(half, tmp_path / "half")
    finally:
        step.Shards.remove = remove  # type: ignore[method-assign]
    (tmp_path / "resumed" / "synth").mkdir()
    kept[0].rename(tmp_path / "resumed" / "synth" / "parts")
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path / "config.json"), *roots], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("refused:") == 1 and "translates the corpus" in done.stdout
    for name in ("whole", "resumed"):
        assert contents(tmp_path / name / "synth") == contents(tmp_path / "local" / "synth")


def test_nothing_to_do_starts_no_cluster() -> None:
    assert list(cluster.mapped(lambda given: lambda item: item, None, 0, 2)) == []
    assert "ray" not in sys.modules
