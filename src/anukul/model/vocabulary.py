"""More pieces for a base: a tokenizer that has them, and rows for them beside the base's own.

The base's embeddings and output head are never touched or copied: `MoreEmbeddings` and `MoreHead` stand around them,
around the adapter's layers too, and add the new rows. Switched off, they hand everything on as it is, and `Loaded`
gives the base's own tokenizer: the model is then the original to the bit.
"""

import copy
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  the usual name
from torch import Tensor, nn

from anukul.config import VocabularySettings
from anukul.digests import digest
from anukul.errors import UserError
from anukul.model.loaded import Loaded
from anukul.progress import say
from anukul.rundir import read_json, write_json
from anukul.tokenizer.files import JSON, SENTENCEPIECE, read_tokenizer
from anukul.tokenizer.learn import Learner, check_scripts, write_files

FOLDER = "vocabulary"  # in the adapter's folder: the tokenizer's files, the rows, and what they belong to
ABOUT, ROWS = "vocabulary.json", "rows.safetensors"
SAMPLED_ROWS = 64


class MoreEmbeddings(nn.Module):
    """Input embeddings with rows beyond those of `inner`."""

    def __init__(self, inner: nn.Module, old_rows: int, rows: nn.Parameter, scale: float) -> None:
        super().__init__()
        self.inner = inner
        self.rows = rows  # [new tokens, hidden]
        self.old_rows = old_rows
        self.scale = scale  # Gemma multiplies what it looks up
        self.on = True

    @property
    def weight(self) -> Tensor:
        """All rows of the base and the new ones, `[tokens, hidden]`; made anew at every call."""
        held: Tensor = self.inner.weight  # type: ignore[assignment]  # an Embedding, or a layer of peft around one
        return torch.cat([held, self.rows.to(held.dtype)]) if self.on else held

    def forward(self, ids: Tensor) -> Tensor:
        """Return `[..., hidden]` for token ids `[...]`."""
        if not self.on:
            kept: Tensor = self.inner(ids)
            return kept
        new = ids >= self.old_rows
        old: Tensor = self.inner(ids.masked_fill(new, 0))
        added = F.embedding((ids - self.old_rows).clamp_min(0), self.rows) * self.scale
        return torch.where(new.unsqueeze(-1), added.to(old.dtype), old)


class MoreHead(nn.Module):
    """An output head with rows beyond those of `inner`."""

    def __init__(self, inner: nn.Module, rows: nn.Parameter) -> None:
        super().__init__()
        self.inner = inner
        self.rows = rows  # [new tokens, hidden]
        self.on = True

    @property
    def weight(self) -> Tensor:
        """All rows of the base and the new ones, `[tokens, hidden]`; made anew at every call."""
        held: Tensor = self.inner.weight  # type: ignore[assignment]  # a Linear, or a layer of peft around one
        return torch.cat([held, self.rows.to(held.dtype)]) if self.on else held

    def forward(self, states: Tensor) -> Tensor:
        """Return logits `[..., tokens]` for hidden states `[..., hidden]`."""
        scores: Tensor = self.inner(states)
        if not self.on:
            return scores
        more = F.linear(states, self.rows.to(states.dtype))
        return torch.cat([scores, more.to(scores.dtype)], dim=-1)


@dataclass(slots=True)
class Vocabulary:
    """What a model got beyond its base."""

    tokenizer: Any  # knows the new pieces
    files: dict[str, bytes]  # of the tokenizer
    about: dict[str, Any]  # as in vocabulary.json
    embeddings: MoreEmbeddings
    head: MoreHead

    @property
    def active(self) -> bool:
        """Whether the new pieces are in use; off, the model is the base."""
        return self.head.on

    @contextmanager
    def off(self) -> Iterator[None]:
        """Hand everything on to the base inside the block."""
        before = self.head.on
        self.embeddings.on = self.head.on = False
        try:
            yield
        finally:
            self.embeddings.on = self.head.on = before


def add_vocabulary(
    loaded: Loaded, settings: VocabularySettings, texts: Iterable[str], language: str, base_language: str
) -> None:
    """Learn new pieces from texts and give the model rows for them; each row is the mean of its old pieces' rows.

    The rows are trained whatever `train.embeddings` says. Raises UserError where the tokenizer or the model cannot be
    extended, where both languages share a script, and where the texts give no new piece.
    """
    script = check_scripts(language, base_language)
    inputs, outputs = _modules(loaded)
    old_rows = int(inputs.weight.shape[0])
    with tempfile.TemporaryDirectory() as name:
        old, new = Path(name) / "old", Path(name) / "new"
        old.mkdir()
        _save_old(loaded.base_tokenizer, old, loaded.max_positions)
        learner = Learner(read_tokenizer(old), texts, script, settings.whole_words)
        made = learner.extend(settings.extend, settings.min_count, old_rows)
        new.mkdir()
        for file in old.iterdir():
            (new / file.name).write_bytes(file.read_bytes())
        write_files(made, old, new)
        files = {file.name: file.read_bytes() for file in sorted(new.iterdir())}
    tied = outputs.weight is inputs.weight
    say(
        f"  vocabulary: {len(made.growth.pieces):,} new pieces of {settings.extend:,} asked, "
        f"{old_rows:,} -> {old_rows + len(made.growth.pieces):,} rows"
    )
    about = {
        "base_rows": old_rows,
        "new_rows": len(made.growth.pieces),
        "hidden": int(inputs.weight.shape[1]),
        "tied": tied,
        "base_tokenizer": tokenizer_digest(loaded.base_tokenizer),
        "base_embeddings": rows_digest(inputs.weight),
        "whole_words": made.whole_words,
        "script": script,
        "uses": list(made.growth.uses),
    }
    rows = {"input": _means(inputs.weight, made.made_of)}
    if not tied:
        rows["output"] = _means(outputs.weight, made.made_of)
    _install(loaded, files, about, rows, trainable=True)


def _means(weight: Tensor, made_of: tuple[tuple[int, ...], ...]) -> Tensor:
    """The mean of each new piece's old rows, `[new tokens, hidden]`, fp32."""
    with torch.no_grad():
        means = [weight[torch.tensor(ids, device=weight.device)].float().mean(0) for ids in made_of]
        return torch.stack(means)


def save_vocabulary(loaded: Loaded, folder: Path) -> None:
    """Write the tokenizer's files and the rows into the adapter's folder, where the model has new pieces."""
    from safetensors.torch import save_file

    held = loaded.vocabulary
    if held is None:
        return
    target = folder / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    for name, data in held.files.items():
        (target / name).write_bytes(data)
    rows = {"input": held.embeddings.rows}
    if not held.about["tied"]:
        rows["output"] = held.head.rows
    save_file({name: row.detach().cpu().contiguous() for name, row in rows.items()}, str(target / ROWS))
    write_json(target / ABOUT, held.about)


def load_vocabulary(loaded: Loaded, folder: Path, trainable: bool = False) -> None:
    """Give the model the new pieces of an adapter's folder, where it has any.

    Raises UserError where they were made for a base with another tokenizer or other embeddings.
    """
    from safetensors.torch import load_file

    source = folder / FOLDER
    if not source.exists():
        return
    about = read_json(source / ABOUT)
    inputs, outputs = _modules(loaded)
    found = {
        "base_rows": int(inputs.weight.shape[0]),
        "hidden": int(inputs.weight.shape[1]),
        "tied": outputs.weight is inputs.weight,
        "base_tokenizer": tokenizer_digest(loaded.base_tokenizer),
        "base_embeddings": rows_digest(inputs.weight),
    }
    for name, value in found.items():
        if about[name] != value:
            raise UserError(
                f"{source}: these new pieces do not fit this base: {name.replace('_', ' ')} is {value} here and was "
                f"{about[name]} where they were made; give the base that this adapter was trained on"
            )
    named = {ABOUT, ROWS}
    files = {file.name: file.read_bytes() for file in sorted(source.iterdir()) if file.name not in named}
    _install(loaded, files, about, load_file(str(source / ROWS)), trainable)


def _install(
    loaded: Loaded, files: dict[str, bytes], about: dict[str, Any], rows: dict[str, Tensor], trainable: bool
) -> None:
    """Put the new rows around what stands in the model."""
    model = loaded.causal_lm
    inner, head = model.get_input_embeddings(), model.get_output_embeddings()
    device = inner.weight.device
    parameters = {
        name: nn.Parameter(row.float().to(device), requires_grad=trainable) for name, row in rows.items()
    }
    given = parameters["input"]
    scale = float(getattr(_plain(inner), "embed_scale", 1.0))
    loaded.vocabulary = Vocabulary(
        load_files(files, loaded.base_tokenizer),
        files,
        about,
        MoreEmbeddings(inner, about["base_rows"], given, scale),
        MoreHead(head, parameters.get("output", given)),
    )
    _place(loaded, on=True)


def _place(loaded: Loaded, on: bool) -> None:
    held, model = loaded.vocabulary, loaded.causal_lm
    assert held is not None
    model.set_input_embeddings(held.embeddings if on else held.embeddings.inner)
    model.set_output_embeddings(held.head if on else held.head.inner)


@contextmanager
def set_aside(loaded: Loaded) -> Iterator[None]:
    """Take the new rows out of the module tree inside the block, so that names in it are those of the base."""
    if loaded.vocabulary is None:
        yield
        return
    _place(loaded, on=False)
    try:
        yield
    finally:
        _place(loaded, on=True)


def load_files(files: dict[str, bytes], like: Any) -> Any:
    """Load a tokenizer from its files; lengths and the like as in the base's."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        write_tokenizer(files, Path(name))
        tokenizer = AutoTokenizer.from_pretrained(name)
    written, read = (json.loads(text) for text in (files[JSON], tokenizer.backend_tokenizer.to_str()))
    if _core(written) != _core(read):
        raise UserError(
            f"train.vocabulary: transformers reads {JSON} with its class {type(tokenizer).__name__}, which makes "
            "another tokenizer of it; set tokenizer_class to PreTrainedTokenizerFast in the base's "
            "tokenizer_config.json"
        )
    tokenizer.model_max_length = like.model_max_length
    tokenizer.name_or_path = f"{like.name_or_path} + {FOLDER}"
    return tokenizer


def _core(data: dict[str, Any]) -> tuple[Any, ...]:
    """What decides the pieces of a text in the content of a tokenizer.json, however its merges are written."""
    model = data["model"]
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model.get("merges", ())]
    return data["normalizer"], data["pre_tokenizer"], model["vocab"], merges


def write_tokenizer(files: dict[str, bytes], folder: Path) -> None:
    """Write a tokenizer's files as they are held."""
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _save_old(tokenizer: Any, folder: Path, window: int) -> None:
    """Save the base's tokenizer with the model's window, and with its sentencepiece model where there is one."""
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            "train.vocabulary: the base has no fast tokenizer (tokenizer.json); convert it with transformers first"
        )
    saved = copy.deepcopy(tokenizer)
    saved.model_max_length = window  # set aside where it was loaded
    saved.save_pretrained(str(folder))
    named = [Path(str(tokenizer.name_or_path)) / SENTENCEPIECE, getattr(tokenizer, "vocab_file", None)]
    for path in [Path(item) for item in named if item]:
        if path.name == SENTENCEPIECE and path.is_file():
            (folder / SENTENCEPIECE).write_bytes(path.read_bytes())
            return


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of what a tokenizer does: the content of its tokenizer.json, how it pads and cuts left out."""
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    return digest({name: value for name, value in data.items() if name not in ("padding", "truncation")})


def rows_digest(weight: Tensor) -> str:
    """Digest of 64 evenly spaced rows of embeddings, first and last included."""
    count = weight.shape[0]
    places = [(count - 1) * index // (SAMPLED_ROWS - 1) for index in range(SAMPLED_ROWS)]
    rows = weight.detach()[torch.tensor(places, device=weight.device)].float().cpu()
    return digest([list(weight.shape), rows.numpy().tobytes().hex()])


def _modules(loaded: Loaded) -> tuple[Any, Any]:
    """The base's input embeddings and output head; raise UserError where rows cannot stand beside them."""
    inputs = _plain(loaded.causal_lm.get_input_embeddings())
    outputs = _plain(loaded.causal_lm.get_output_embeddings())
    if not isinstance(inputs, nn.Embedding) or not isinstance(outputs, nn.Linear) or outputs.bias is not None:
        name = type(loaded.causal_lm).__name__
        raise UserError(
            f"train.vocabulary: {name} has embeddings or an output head that rows cannot be added to; leave it out"
        )
    return inputs, outputs


def _plain(module: Any) -> Any:
    """The base's own module inside the layers of an adapter."""
    for name in ("original_module", "base_layer"):
        while hasattr(module, name):
            module = getattr(module, name)
    return module
