"""Print examples as the model will see them: every token, what is given and what is learnt, and whose words they are.

Only the tokenizer is needed. A letter that several tokens make, as byte-level tokenizers cut Devanagari, is shown once
with how many tokens it took; a token that begins with a vowel sign is given a dotted circle to stand on.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anukul.config import RunConfig, Stage
from anukul.errors import UserError
from anukul.model.base import load_tokenizer
from anukul.train.data import Written, own_rows
from anukul.train.doses import mix
from anukul.train.formats import Example, Formatter, fit_to_context

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

import unicodedata

BORDER = "│"
SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
SPACE, BREAK = "␣", "⏎"
LEARNT, GIVEN, MACHINE = "bold green", "dim", "italic"


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens that make whole characters together."""

    text: str
    tokens: int
    learnt: bool
    mixed: bool = False  # some of its tokens are learnt and some given, which must not be


def show_examples(config: RunConfig, root: Path, count: int, only: str | None = None) -> None:
    """Print `count` examples of every stage of the config, or of the one named."""
    from rich.console import Console

    if config.train is None:
        raise UserError(
            "--show prints what the stages of `train` will read: the config needs a train section"
        )
    names = [stage.name for stage in config.train.stages]
    if only is not None and only not in names:
        raise UserError(f"--stage {only}: no such stage; there are {', '.join(names)}")
    tokenizer = load_tokenizer(config.model)
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    formatter = Formatter(tokenizer, int(first), config.language, config.base_language)
    console = Console(highlight=False, soft_wrap=True)
    for line in _legend(console):
        console.print(line)
    for stage in config.train.stages:
        if only in (None, stage.name):
            _show_stage(config, root, stage, formatter, count, console)


def _legend(console: "Console") -> Iterator["Text | str"]:
    if colored(console):
        from rich.text import Text

        yield Text.assemble(
            ("learnt", LEARNT),
            " ",
            ("given", GIVEN),
            f"   {BORDER} between tokens   क₃ one letter of three tokens",
        )
    else:
        yield f"«learnt» given   {BORDER} between tokens   क₃ one letter of three tokens"


def colored(console: "Console") -> bool:
    """Whether the console shows colors; NO_COLOR asks for none."""
    return console.color_system is not None and not console.no_color


def _show_stage(
    config: RunConfig, root: Path, stage: Stage, formatter: Formatter, count: int, console: "Console"
) -> None:
    assert config.train is not None
    written = [replace(one, mark=replace(one.mark, copies=1)) for one in own_rows(root, stage, formatter)]
    chosen = _draw(written, count, config.seed, stage)
    examples = formatter.encode([one.segments for one in chosen], marks=[one.mark for one in chosen])
    if stage.shares or stage.doses or stage.repeat:
        # a mix that cannot be made is told now, not by training
        everything = formatter.encode([one.segments for one in written], marks=[one.mark for one in written])
        mix(everything, stage, config.train.context, config.seed)
    console.print(f"\n{stage.name} ({stage.format}): {len(chosen)} of {len(written):,} rows", markup=False)
    for one, example in zip(chosen, examples, strict=True):
        console.print(heading(one, example, config.train.context), markup=False)
        console.print(
            painted(pieces_of(first_window(example, config.train.context), formatter), colored(console)),
            markup=False,
        )


def _draw(written: Sequence[Written], count: int, seed: int, stage: Stage) -> list[Written]:
    """A few rows, drawn by the run's seed, in their order."""
    rng = np.random.default_rng([seed, zlib.crc32(stage.name.encode()), 2])
    places = np.sort(rng.permutation(len(written))[:count])
    return [written[place] for place in places]


def heading(one: Written, example: Example, context: int) -> str:
    """Return the line above an example: whose words, which way, how much of it is learnt."""
    learnt = int(example.learnt[1:].sum())
    said = [f"— {one.id}", one.mark.source, one.license]
    if one.mark.direction:
        said.append({"to_target": "into the language", "to_base": "out of the language"}[one.mark.direction])
    said.append(_origins(one))
    said.append(f"{len(example.ids):,} tokens, {learnt:,} learnt")
    if len(example.ids) > context:
        windows = math.ceil((len(example.ids) - 1) / (context - 1))
        cut = f"read in {windows:,} windows of {context:,}, the first is shown"
        said.append(cut if example.splittable else f"longer than the context of {context:,}: left out")
    return " · ".join(part for part in said if part)


def first_window(example: Example, context: int) -> Example:
    """Return what the model reads of an example at once: a long text is cut into windows, and not printed whole."""
    fitting, _ = fit_to_context([example], context)
    return fitting[0] if fitting else example


def _origins(one: Written) -> str:
    """Say of each span, in order, whether it is given or learnt, and who wrote it."""
    spans = []
    for segment in one.segments:
        role = "learnt" if segment.learnt else "given"
        origins = [origin for _, origin in segment.parts] or [segment.origin]
        spans += [f"{role} {origin}" for origin in origins]
    shown: list[str] = []
    for span in spans:
        if not shown or shown[-1] != span:
            shown.append(span)
    if len(shown) > 6:
        return f"{shown[0]} / {shown[1]} in turn"
    return " / ".join(shown)


def pieces_of(example: Example, formatter: Formatter) -> list[Piece]:
    """Group the tokens of an example into whole characters."""
    tokenizer = formatter.tokenizer
    pieces: list[Piece] = []
    held: list[int] = []
    marks: list[bool] = []
    for place, token in enumerate(example.ids.tolist()):
        learnt = bool(example.learnt[place])
        name = _special(token, tokenizer, formatter)
        if name:
            pieces += _flush(held, marks, tokenizer)
            pieces.append(Piece(name, 1, learnt))
            held, marks = [], []
            continue
        held.append(token)
        marks.append(learnt)
        if "\ufffd" not in _decode(held, tokenizer):
            pieces += _flush(held, marks, tokenizer)
            held, marks = [], []
    return pieces + _flush(held, marks, tokenizer)


def _special(token: int, tokenizer: Any, formatter: Formatter) -> str:
    if token in (formatter.prefix_id, formatter.end_id) or token in tokenizer.all_special_ids:
        return f"⟨{tokenizer.convert_ids_to_tokens(token)}⟩"
    return ""


def _flush(held: list[int], marks: list[bool], tokenizer: Any) -> list[Piece]:
    if not held:
        return []
    return [Piece(_decode(held, tokenizer), len(held), all(marks), any(marks) and not all(marks))]


def _decode(ids: list[int], tokenizer: Any) -> str:
    """Return the text of some tokens, a space before them kept."""
    whole = str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    first = tokenizer.convert_ids_to_tokens(ids[0])
    # sentencepiece's decoder drops the space that its first piece stands for
    if isinstance(first, str) and first.startswith("▁") and not whole.startswith(" "):
        return " " + whole
    return whole


def readable(piece: Piece) -> str:
    """Return what is printed of a piece: blanks visible, a vowel sign on a circle, the count of several tokens."""
    text = piece.text.replace("\n", BREAK)
    text = SPACE + text[1:] if text.startswith(" ") else text
    text = text[:-1] + SPACE if text.endswith(" ") else text
    if text and unicodedata.category(text[0]).startswith("M"):
        text = "◌" + text
    if text in ("\u200c", "\u200d"):
        text = "⟨ZWNJ⟩" if text == "\u200c" else "⟨ZWJ⟩"
    return text + (str(piece.tokens).translate(SUBSCRIPT) if piece.tokens > 1 else "")


def painted(pieces: Sequence[Piece], color: bool) -> "Text | str":
    """Return an example as it is printed: learnt tokens colored, or in « » where there is no color."""
    if not color:
        line, inside = "", False
        for place, piece in enumerate(pieces):
            border = BORDER if place else ""
            if piece.learnt != inside:
                line += border + ("«" if piece.learnt else "")
                line = line if piece.learnt else line.removesuffix(BORDER) + "»" + BORDER
                inside = piece.learnt
                border = ""
            line += border + readable(piece)
        return line + ("»" if inside else "")
    from rich.text import Text

    shown = Text()
    for place, piece in enumerate(pieces):
        if place:
            shown.append(BORDER, "bright_black")
        shown.append(readable(piece), LEARNT if piece.learnt else GIVEN)
    return shown
