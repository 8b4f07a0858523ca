"""Ask a fastText model of languages whose labels are FLORES-200 codes, such as GlotLID's (Kargaran et al., 2023)."""

from functools import cache
from pathlib import Path
from typing import Any

from anukul.errors import UserError

LABEL = "__label__"
NAMED = 5  # labels asked for: the language itself is among them, or its probability is as good as none


@cache
def _model(path: str) -> Any:
    try:
        import fasttext
    except ImportError:
        message = "corpus.glotlid: needs a package; install it with `pip install 'anukul[glotlid]'`"
        raise UserError(message) from None
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; `corpus.glotlid` is the model.bin of cis-lmu/glotlid")
    try:
        return fasttext.load_model(path)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: not a fastText model: {error}") from None


def forget() -> None:
    """Let go of the model."""
    _model.cache_clear()


def score(text: str, code: str, path: str) -> tuple[str, float, float]:
    """Return (the most probable label, its probability, the probability of `code`) for a paragraph.

    Raises UserError where the package or the file is missing, or the file is no model.
    """
    labels, shares = _model(path).predict(text.replace("\n", " "), k=NAMED)
    found = {label.removeprefix(LABEL): float(share) for label, share in zip(labels, shares, strict=True)}
    best = max(found, key=lambda label: found[label], default="unknown")
    return best, found.get(best, 0.0), found.get(code, 0.0)
