"""The evaluation items that no training text may hold: gathered once, looked up by every worker."""

from functools import cache
from pathlib import Path

from anukul.config import DecontaminateSettings, RunConfig
from anukul.contamination.index import Contamination, EvalText
from anukul.contamination.items import eval_texts
from anukul.records import write_rows
from anukul.tables import iter_rows
from anukul.text import identify, shingles


def gather(config: RunConfig, path: Path) -> None:
    """Write every text that the run evaluates on to `path`, where it does not stand; it may take a tasks library."""
    if not path.exists():
        write_rows(path, eval_texts(config), EvalText)


@cache
def indexed(path: Path, settings: DecontaminateSettings) -> Contamination:
    """Return the index of the texts that `gather` wrote."""
    return Contamination(iter_rows(path, EvalText), settings.ngram, settings.share, settings.min_words)


def forget() -> None:
    """Let go of what was kept from row to row, some hundred MB: the next step of this process may be a training."""
    import pyarrow as pa

    indexed.cache_clear()
    identify.forget()
    shingles.forget()
    pa.default_memory_pool().release_unused()
