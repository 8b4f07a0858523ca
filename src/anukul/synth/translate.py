"""Machine translation that says when it was cut.

A decoder that reaches its limit stops without a word, and half a translation teaches half a sentence. So the end
token is asked for and looked for, and inputs are cut at sentences, never by the engine.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from anukul.config import TranslateSettings, resolve
from anukul.errors import UserError
from anukul.languages import Language
from anukul.text.sentences import split_sentences

SOURCE_PIECES = (
    "source.spm",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "tokenizer.model",
)
TARGET_PIECES = ("target.spm", *SOURCE_PIECES)


@dataclass(frozen=True, slots=True)
class Translation:
    """A translated text; `ended` is False where any part of it never reached its end token."""

    text: str
    ended: bool
    tokens: int  # generated, the end token counted


class Translator(Protocol):
    """What translates: texts in, as many translations out, in order."""

    name: str

    def translate(self, texts: list[str]) -> list[Translation]:
        """Translate texts; each comes back as one translation."""
        ...


class CTranslate2Translator:
    """A CTranslate2 model folder with its sentencepiece model, on the GPU where CTranslate2 sees one."""

    def __init__(self, settings: TranslateSettings, language: Language) -> None:
        """Load the model; raise UserError when the package, the folder or the sentencepiece model is missing."""
        try:
            import ctranslate2
            import sentencepiece
        except ImportError as error:
            raise UserError(f"synth.translate needs {error.name}: pip install anukul[mt]") from None
        folder = resolve(settings.model)
        if not (folder / "model.bin").is_file():
            raise UserError(
                f"{settings.model}: no CTranslate2 model (model.bin) there; make one with ct2-transformers-converter"
            )
        self.settings = settings
        self.language = language
        self.name = folder.name
        source, target = (_pieces_file(folder, names) for names in (SOURCE_PIECES, TARGET_PIECES))
        self.source_pieces = sentencepiece.SentencePieceProcessor(model_file=str(source))
        self.target_pieces = sentencepiece.SentencePieceProcessor(model_file=str(target))
        self.end = _end_token(folder)
        device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        try:
            self.model = ctranslate2.Translator(str(folder), device=device)
        except RuntimeError as error:
            raise UserError(f"{settings.model}: CTranslate2 cannot load it: {error}") from None

    def translate(self, texts: list[str]) -> list[Translation]:
        """Translate texts; line breaks are kept, long texts go in pieces of whole sentences.

        A sentence of more tokens than `max_output_tokens` is not sent: its translation comes back as not ended.
        """
        pieces: list[list[str]] = []  # tokens of every piece to translate
        plans: list[list[list[int | None]]] = []  # text -> line -> piece numbers, None where it is too long
        for text in texts:
            plan: list[list[int | None]] = []
            for line in text.split("\n"):
                numbers: list[int | None] = []
                for tokens in self._cut(line):
                    fits = len(tokens) <= self.settings.max_output_tokens
                    numbers.append(len(pieces) if fits else None)
                    if fits:
                        pieces.append(tokens)
                plan.append(numbers)
            plans.append(plan)
        done = self._translate_pieces(pieces)
        return [_join(plan, done) for plan in plans]

    def _cut(self, line: str) -> list[list[str]]:
        """Return the tokens of a line in pieces of whole sentences, each at most half the output limit if it can.

        Half leaves room for a translation twice as long as its source.
        """
        room = max(1, self.settings.max_output_tokens // 2)
        whole: list[str] = self.source_pieces.encode(line, out_type=str)
        if len(whole) <= room:
            return [whole] if whole else []
        pieces: list[list[str]] = []
        held = ""
        for sentence in split_sentences(line, self.language):
            together = f"{held} {sentence}" if held else sentence
            if held and len(self.source_pieces.encode(together, out_type=str)) > room:
                pieces.append(self.source_pieces.encode(held, out_type=str))
                together = sentence
            held = together
        pieces.append(self.source_pieces.encode(held, out_type=str))
        return pieces

    def _translate_pieces(self, pieces: list[list[str]]) -> list[Translation]:
        if not pieces:
            return []
        settings = self.settings
        prefix = list(settings.target_prefix)
        results = self.model.translate_batch(
            [[*settings.source_prefix, *tokens, *settings.source_suffix] for tokens in pieces],
            target_prefix=[prefix] * len(pieces) if prefix else None,
            beam_size=settings.beam_size,
            max_batch_size=settings.batch_tokens,
            batch_type="tokens",
            max_input_length=0,  # 0: the engine cuts no input; _cut has seen to its length
            max_decoding_length=settings.max_output_tokens,
            return_end_token=True,
        )
        return [self._read(list(result.hypotheses[0]), prefix) for result in results]

    def _read(self, tokens: list[str], prefix: list[str]) -> Translation:
        if prefix and tokens[: len(prefix)] == prefix:
            tokens = tokens[len(prefix) :]
        ended = bool(tokens) and tokens[-1] == self.end
        text = self.target_pieces.decode(tokens[:-1] if ended else tokens)
        return Translation(" ".join(text.split()), ended, len(tokens))


def _join(plan: list[list[int | None]], done: list[Translation]) -> Translation:
    """Put the pieces of one text together: pieces with a space, lines with a line break."""
    parts = [[done[number] for number in line if number is not None] for line in plan]
    ended = all(number is not None and done[number].ended for line in plan for number in line)
    text = "\n".join(" ".join(part.text for part in line if part.text) for line in parts)
    return Translation(text, ended, sum(part.tokens for line in parts for part in line))


def _pieces_file(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the sentencepiece model of a folder: one of the usual names, or the only file that can be one."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = sorted([*folder.glob("*.model"), *folder.glob("*.spm")])
    if len(found) == 1:
        return found[0]
    raise UserError(f"{folder}: no sentencepiece model beside model.bin; copy it there as {names[0]}")


def _end_token(folder: Path) -> str:
    """Return the model's end token, `</s>` unless its config.json says otherwise."""
    config = folder / "config.json"
    data: dict[str, Any] = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    return str(data.get("eos_token") or "</s>")
