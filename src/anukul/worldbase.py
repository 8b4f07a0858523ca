"""The embedded world and its tiny base, built once and cached by the hash of all that decides them."""

import json
import os
from importlib import resources
from pathlib import Path

from anukul import __version__
from anukul.config import WorldSettings
from anukul.digests import digest, hash_file
from anukul.progress import say
from anukul.rundir import atomic_folder

SOURCES = ("synth/world", "model/build.py", "train/pretrain.py")


def cache_folder() -> Path:
    """Where built worlds are kept: ANUKUL_CACHE, else ~/.cache/anukul."""
    return Path(os.environ.get("ANUKUL_CACHE") or Path.home() / ".cache" / "anukul")


def world_folder(settings: WorldSettings) -> Path:
    """The folder of the world with these settings, made by this code; it may not be built yet."""
    package = Path(str(resources.files("anukul")))
    files = [
        file
        for source in SOURCES
        for file in sorted(
            (package / source).rglob("*") if (package / source).is_dir() else [package / source]
        )
        if file.is_file() and "__pycache__" not in file.parts
    ]
    code = [[str(file.relative_to(package)), hash_file(file)] for file in files]
    return cache_folder() / f"world-{digest([__version__, settings.model_dump(), code])[:16]}"


def build_world(settings: WorldSettings) -> Path:
    """Return the world's folder (text, questions, treebanks …, and `base/`), built if it is not in the cache."""
    folder = world_folder(settings)
    if folder.exists():
        return folder
    from anukul.synth.world import WorldConfig, build
    from anukul.train.pretrain import pretrain

    say(f"world: building it and its tiny base, once, in {folder}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as temporary:
        counts = build(WorldConfig(seed=settings.seed, people=settings.people), temporary)
        say("  " + ", ".join(f"{count:,} {name}" for name, count in counts.items()))
        lines = (temporary / "base_corpus.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        traces = [row["text"] for row in rows if row["language"] != "eng_Latn"]
        pretrain([row["text"] for row in rows], traces, settings, temporary / "base")
    return folder
