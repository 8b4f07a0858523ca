"""`anukul tokenizer report`: how the base's tokenizer cuts the two languages, and whether to extend it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anukul.config import HeldOutText, RunConfig, TextInput, VocabularySettings, resolve
from anukul.errors import UserError
from anukul.languages import load as load_language
from anukul.text.files import format_of, input_paths, read_table
from anukul.tokenizer.advice import RISKS, Candidate, advise, candidate
from anukul.tokenizer.cuts import Cuts, measure
from anukul.tokenizer.files import is_byte_level
from anukul.tokenizer.learn import Learner, check_scripts

if TYPE_CHECKING:
    from anukul.model.shape import Shape

SAMPLE_BYTES = 16_000_000  # of a language's text that is read
HELD_OUT = 10  # one line in so many, where the config names no held-out text
DEFAULT_EXTEND = 4000
THROUGHPUT = 2400.0  # tokens/s: torchtune publishes 2,413 for an 8B QLoRA on one RTX 4090


@dataclass(frozen=True, slots=True)
class Text:
    """What was read of one language."""

    training: list[str]
    held_out: list[str]
    source: str  # of the held-out lines
    training_bytes: int  # of all the training text; of what was read, where it was read to its end


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is said."""

    cuts: list[Cuts]
    candidates: list[Candidate]
    training_tokens: float  # of the language's text, as it is cut now
    throughput: float
    extend: bool
    reasons: list[str]
    examples: list[tuple[str, str]]  # a word as it is cut now, and with the new pieces

    def as_json(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "cuts": [cut.as_json() for cut in self.cuts],
            "candidates": [one.as_json() for one in self.candidates],
            "training_tokens": round(self.training_tokens),
            "throughput": self.throughput,
            "extend": self.extend,
            "reasons": self.reasons,
            "risks": list(RISKS),
            "examples": [{"now": now, "then": then} for now, then in self.examples],
        }


def make_report(config: RunConfig, root: Path, throughput: float | None = None) -> Report:
    """Measure the tokenizer on the config's texts; raise UserError where there is no text of the language.

    The text to train on is what the corpus step made in the run folder, where it stands, else the config's inputs.
    """
    from tokenizers import Tokenizer

    data = _tokenizer_data(config)
    now = Tokenizer.from_str(json.dumps(data))
    byte_level = is_byte_level(data)
    own = read_text(config, root, config.language)
    other = read_text(config, root, config.base_language)
    cuts = []
    for code, text in ((config.language, own), (config.base_language, other)):
        found = measure(now, byte_level, text.held_out, code, text.source)
        if found is not None:
            cuts.append(found)
    if not cuts or cuts[0].language != config.language:
        raise UserError(
            f"tokenizer report: no text of {config.language}: name files in corpus.inputs or evaluate.bits_per_byte"
        )
    training = measure(now, byte_level, own.training, config.language, "")
    training_tokens = own.training_bytes / training.bytes_per_token if training else 0.0
    rate = throughput or THROUGHPUT
    tried = _Tried([], [], "there is no text to learn pieces from: name files in corpus.inputs")
    if own.training:
        tried = _try(config, data, now, own, other, cuts[0], training_tokens, rate)
    if tried.chosen is None:
        verdict, reasons = False, [tried.why_not]
    else:
        verdict, reasons = advise(tried.chosen, training_tokens, cuts[0].partial_tokens / cuts[0].tokens)
    return Report(cuts, tried.candidates, training_tokens, rate, verdict, reasons, tried.examples)


@dataclass(slots=True)
class _Tried:
    """The extensions that were made to see what they do."""

    candidates: list[Candidate]
    examples: list[tuple[str, str]]
    why_not: str = ""  # there are none
    chosen: Candidate | None = None  # the size that was asked for, or the largest that the text gives


def _try(
    config: RunConfig,
    data: dict[str, Any],
    now: Any,
    own: Text,
    other: Text,
    before: Cuts,
    training_tokens: float,
    throughput: float,
) -> _Tried:
    """Learn a quarter of the pieces asked for, as many, and four times as many."""
    from tokenizers import Tokenizer

    settings = (config.train.vocabulary if config.train else None) or VocabularySettings(
        extend=DEFAULT_EXTEND
    )
    script = check_scripts(config.language, config.base_language)
    shape = _shape(config)
    first = max(max(now.get_vocab().values()) + 1, shape.vocabulary if shape else 0)
    learner = Learner(data, own.training, script, settings.whole_words)
    found = _Tried([], [])
    for size in sorted({max(1, settings.extend // 4), settings.extend, settings.extend * 4}):
        try:
            made = learner.extend(size, settings.min_count, first)
        except UserError as error:
            found.why_not = str(error)
            break
        then = Tokenizer.from_str(json.dumps(made.data))
        after = measure(then, is_byte_level(data), own.held_out, before.language, before.source)
        assert after is not None
        pairs = (
            tokenizer.encode_batch(other.held_out, add_special_tokens=False) for tokenizer in (now, then)
        )
        unchanged = all(left.ids == right.ids for left, right in zip(*pairs, strict=True))
        one = candidate(
            size,
            made.growth.uses,
            after.tokens_per_word,
            before.tokens_per_word,
            unchanged,
            training_tokens,
            throughput,
            shape,
        )
        found.candidates.append(one)
        if size <= settings.extend:
            found.chosen, found.examples = one, _examples(now, then, own.held_out)
        if one.pieces < size:
            break  # the text gives no more
    return found


def _tokenizer_data(config: RunConfig) -> dict[str, Any]:
    """The content of the tokenizer.json, made from the slow tokenizer where the base has only that."""
    from anukul.model.base import load_tokenizer

    tokenizer = load_tokenizer(config.model)
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"model.path: {config.model.path}: the base has no fast tokenizer (tokenizer.json); convert it first"
        )
    data: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return data


def _shape(config: RunConfig) -> "Shape | None":
    from anukul.model.shape import read_shape

    try:
        return read_shape(config.model)
    except UserError:
        return None  # the cost in parameters is then left out, and said to be


def _examples(now: Any, then: Any, lines: list[str]) -> list[tuple[str, str]]:
    """The words of the first lines that are cut the most, before and after."""
    words = sorted({word for line in lines[:20] for word in line.split()})
    cut = [(len(now.encode(" " + word, add_special_tokens=False).ids), word) for word in words]
    most = [word for _, word in sorted(cut, key=lambda item: (-item[0], item[1]))[:3]]
    return [(_shown(now, word), _shown(then, word)) for word in most]


def _shown(tokenizer: Any, word: str) -> str:
    """A word's tokens with bars between them; what is not a whole character is shown as a dot."""
    ids = tokenizer.encode(" " + word, add_special_tokens=False).ids
    parts = [tokenizer.decode([token]).strip() for token in ids]
    return "|".join(part.replace("\ufffd", "·") for part in parts if part)


def read_text(config: RunConfig, root: Path, code: str) -> Text:
    """Read a language's text: what trains (documents, or replay text) and what is held out (bits_per_byte)."""
    own = code == config.language
    made = root / "corpus" / ("documents.parquet" if own else "replay.parquet")
    inputs = (config.corpus.inputs if own else config.corpus.replay) if config.corpus else ()
    if made.exists():
        inputs = (TextInput(path=str(made)),)
    training, size = _sample(inputs)
    tests = [
        text for text in (config.evaluate.bits_per_byte if config.evaluate else ()) if text.language == code
    ]
    held_out = [line for text in tests for line in _held_out(text)]
    source = ", ".join(text.name for text in tests)
    if not held_out:
        held_out, training = (
            training[::HELD_OUT],
            [line for index, line in enumerate(training) if index % HELD_OUT],
        )
        source = f"one in {HELD_OUT} of {'corpus.inputs' if own else 'corpus.replay'}"
    return Text(training, held_out, source, size)


def _held_out(text: HeldOutText) -> Iterator[str]:
    path = resolve(text.path)
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    stop = None if text.limit is None else text.skip + text.limit
    yield from lines[text.skip : stop]


def _sample(inputs: tuple[TextInput, ...]) -> tuple[list[str], int]:
    """Return the first documents of all inputs, `SAMPLE_BYTES` in all, and the bytes that all inputs hold."""
    texts: list[str] = []
    held = total = 0
    share = SAMPLE_BYTES // max(1, len(inputs))
    for item in inputs:
        read = 0
        rest = _documents(item)
        for text in rest:
            texts.append(text)
            read += len(text.encode("utf-8"))
            if read >= share:
                break
        held += read
        total += read + sum(len(text.encode("utf-8")) for text in rest)
    return texts, total


def _documents(item: TextInput) -> Iterator[str]:
    resolved = resolve(item.path)
    if "*" not in resolved.name and not resolved.exists():
        return
    stop = None if item.limit is None else item.skip + item.limit
    yield from islice(_rows(item), item.skip, stop)


def _rows(item: TextInput) -> Iterator[str]:
    for path in input_paths(item.path):
        for row in read_table(path, format_of(path, item.format), (item.text_column,)):
            if not row.rule:
                yield row.values[item.text_column]


def print_report(report: Report, config: RunConfig, write: Callable[[str], None]) -> None:
    """Print a report for people."""
    name = config.model.tokenizer or config.model.path
    write(f"tokenizer of {name}")
    write("")
    write(
        f"{'':<12}{'tokens/word':>12}{'bytes/token':>12}{'torn words':>12}{'broken':>9}{'partial':>9}   measured on"
    )
    for cut in report.cuts:
        data = cut.as_json()
        write(
            f"{cut.language:<12}{cut.tokens_per_word:>12.2f}{cut.bytes_per_token:>12.2f}"
            f"{data['torn_words_share']:>12.1%}{data['broken_words_share']:>9.1%}"
            f"{data['partial_tokens_share']:>9.1%}   {cut.words:,} words of {cut.source}"
        )
    write(
        "torn: words cut inside a letter (grapheme cluster); broken: of these, inside a character, its bytes apart;"
    )
    write("partial: tokens that are part of a character, byte fallback among them")
    if report.candidates:
        _print_candidates(report, config, write)
    for now, then in report.examples:
        write(f"  {now}  ->  {then}")
    write("")
    write(f"advice: {'extend' if report.extend else 'do not extend'}")
    for reason in report.reasons:
        write(f"  - {reason}")
    write("risks of extending:")
    for risk in RISKS:
        write(f"  - {risk}")


def _print_candidates(report: Report, config: RunConfig, write: Callable[[str], None]) -> None:
    language = load_language(config.language).name
    write("")
    write(
        f"more pieces, learnt from the training text ({report.training_tokens / 1e6:,.2f} M tokens of {language} as it "
        f"is cut now; one pass takes {report.candidates[0].hours_now:,.2f} h at {report.throughput:,.0f} tokens/s):"
    )
    write(
        f"{'pieces':>8}{'tokens/word':>12}{'saved':>8}{'parameters':>13}{'to train':>11}{'one pass':>10}"
        f"{'median uses':>13}   {config.base_language}"
    )
    for one in report.candidates:
        parameters = f"{one.parameters:,}" if one.parameters is not None else "?"
        memory = f"{one.memory / 2**30:.2f} GiB" if one.memory is not None else "?"
        hours = f"{one.hours:,.2f} h" if one.hours is not None else "?"
        unchanged = "cut as before" if one.base_unchanged else "CUT DIFFERENTLY"
        write(
            f"{one.pieces:>8,}{one.tokens_per_word:>12.2f}{one.saved:>8.1%}{parameters:>13}{memory:>11}{hours:>10}"
            f"{one.median_uses:>13,.0f}   {unchanged}"
        )
    if report.candidates[0].parameters is None:
        write("  (no shape of the model is known: set model.shape or give a folder with config.json)")
