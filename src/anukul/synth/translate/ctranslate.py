"""CTranslate2: a model folder with its sentencepiece models, on every GPU it sees, or on the CPU."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xxhash

from anukul.config import TranslateSettings, resolve
from anukul.errors import UserError
from anukul.languages import Language
from anukul.synth.translate.base import (
    Told,
    Translation,
    by_length,
    not_ended,
    surviving,
    translate_texts,
)
from anukul.synth.translate.families import layout_of, read_folder

SOURCE_PIECES = (
    "source.spm",
    "vocab/model.SRC",
    "model.SRC",
    "../vocab/model.SRC",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "tokenizer.model",
)
TARGET_PIECES = ("target.spm", "vocab/model.TGT", "model.TGT", "../vocab/model.TGT", *SOURCE_PIECES)
BATCHES = 4  # for each copy of the model in one call: between calls the user is told where it stands


class CTranslate2Translator:
    """A CTranslate2 model folder with its sentencepiece models."""

    def __init__(
        self,
        settings: TranslateSettings,
        source: Language,
        target: Language,
        name: str,
        seed: int,
        told: Told,
    ) -> None:
        """Load the model; raise UserError when the package, the folder or the sentencepiece model is missing."""
        try:
            import ctranslate2  # noqa: F401  only whether it is there
            import sentencepiece
        except ImportError as error:
            raise UserError(f"synth.translate needs {error.name}: pip install anukul[mt]") from None
        folder = resolve(settings.model)
        if not (folder / "model.bin").is_file():
            raise UserError(
                f"{settings.model}: no CTranslate2 model (model.bin) there; make one with ct2-transformers-converter"
            )
        self.settings = settings
        self.source, self.target = source, target
        self.name = name
        self.seed = seed
        self.told = told
        self.folder = read_folder(folder)
        self.layout = layout_of(settings, self.folder, source, target)
        files = (_pieces_file(folder, names) for names in (SOURCE_PIECES, TARGET_PIECES))
        self.source_pieces, self.target_pieces = (
            sentencepiece.SentencePieceProcessor(model_file=str(file)) for file in files
        )
        self._load()

    def _load(self) -> None:
        import ctranslate2

        settings = self.settings
        there = ctranslate2.get_cuda_device_count()
        numbers = list(range(there) if settings.devices is None else settings.devices)
        if any(number >= there for number in numbers):
            raise UserError(
                f"synth.translate.devices: {', '.join(map(str, numbers))}: CTranslate2 sees {there} GPUs"
            )
        if settings.sampling:
            numbers = numbers[:1]  # the order in which several copies take batches is not the same twice
        copies = 1 if numbers or settings.sampling else settings.threads
        try:
            self.model = ctranslate2.Translator(
                str(self.folder.path),
                device="cuda" if numbers else "cpu",
                device_index=numbers or 0,
                compute_type=settings.compute_type,
                inter_threads=copies,
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{settings.model}: CTranslate2 cannot load it: {error}") from None
        self.copies = max(1, len(numbers)) * copies

    def translate(self, texts: list[str]) -> list[Translation]:
        """Translate texts; line breaks and list marks are kept, long texts go in pieces of whole sentences."""
        if self.settings.sampling:
            self._reseed(texts)
        limit = self.settings.max_output_tokens
        return translate_texts(texts, self.source, self.target, self._size, limit, self._pieces)

    def _reseed(self, texts: list[str]) -> None:
        """Begin the engine's random numbers anew, by the run's seed and these texts.

        A thread of the engine takes its seed once, when it first draws: only a model loaded anew has new threads.
        """
        import ctranslate2

        drawn = xxhash.xxh32_intdigest("\n".join([str(self.seed), *texts]).encode("utf-8", "surrogatepass"))
        ctranslate2.set_random_seed(drawn)
        self._load()

    def _size(self, text: str) -> int:
        return len(self.source_pieces.encode(self.layout.before(text)))

    def _cut(self, text: str) -> list[str]:
        """Return the tokens of a piece; the form that the model reads is made here.

        In that form a list mark, or the point of an abbreviation, could no longer be told.
        """
        layout = self.layout
        return [
            *layout.source_prefix,
            *self.source_pieces.encode(layout.before(text), out_type=str),
            *layout.source_suffix,
        ]

    def _pieces(self, pieces: list[str]) -> list[Translation]:
        """Translate pieces, the longest first, so that what does not fit in memory is known at once."""
        tokens = {piece: self._cut(piece) for piece in pieces}
        batches = by_length([len(tokens[piece]) for piece in pieces], self.settings.batch_tokens)
        found: list[Translation | None] = [None] * len(pieces)
        for start in range(0, len(batches), self.copies * BATCHES):
            places = [place for batch in batches[start : start + self.copies * BATCHES] for place in batch]
            done = surviving(
                [pieces[place] for place in places], lambda some: self._call([tokens[one] for one in some])
            )
            self.told(sum(one.tokens for one in done), len(done))
            for place, one in zip(places, done, strict=True):
                found[place] = one
        return [one for one in found if one is not None]

    def _call(self, rows: list[list[str]]) -> list[Translation]:
        settings = self.settings
        prefix = list(self.layout.target_prefix)
        more: dict[str, Any] = {}
        if settings.sampling:
            more = {
                "sampling_temperature": settings.sampling.temperature,
                "sampling_topk": settings.sampling.top_k,
                "sampling_topp": settings.sampling.top_p,
            }
        results = self.model.translate_batch(
            rows,
            target_prefix=[prefix] * len(rows) if prefix else None,
            beam_size=settings.beam_size,
            max_batch_size=settings.batch_tokens,
            batch_type="tokens",
            max_input_length=0,  # 0: the engine cuts no input; its length was seen to before
            max_decoding_length=settings.max_output_tokens,
            return_end_token=True,
            **more,
        )
        return [
            self._read(list(result.hypotheses[0]), prefix, len(row))
            for result, row in zip(results, rows, strict=True)
        ]

    def _read(self, tokens: list[str], prefix: list[str], given: int) -> Translation:
        if prefix and tokens[: len(prefix)] == prefix:
            tokens = tokens[len(prefix) :]
        ended = bool(tokens) and tokens[-1] == self.folder.end
        text = self.target_pieces.decode(tokens[:-1] if ended else tokens)
        text = self.layout.after(" ".join(text.split()))
        if ended:
            return Translation(text, True, len(tokens), input_tokens=given)
        return not_ended(text, len(tokens), given)

    def score(self, sources: Sequence[str], targets: Sequence[str]) -> list[float | None]:
        """Return the mean log-probability per token of each target given its source, in nats, the end token counted.

        None for a pair that the model cannot take whole.
        """
        layout = self.layout
        prefix = list(layout.target_prefix)
        rows: list[tuple[list[str], list[str]]] = []
        for source, target in zip(sources, targets, strict=True):
            given = self._cut(_plain(source))
            rows.append(
                (given, [*prefix, *self.target_pieces.encode(layout.written(_plain(target)), out_type=str)])
            )
        found: list[float | None] = [None] * len(rows)
        limit = 2 * self.settings.max_output_tokens
        fitting = [place for place, row in enumerate(rows) if max(map(len, row)) <= limit]
        fitting.sort(key=lambda place: -len(rows[place][0]))
        for place, score in zip(fitting, self._scores([rows[place] for place in fitting]), strict=True):
            found[place] = score
        return found

    def _scores(self, rows: list[tuple[list[str], list[str]]]) -> list[float | None]:
        """Score rows; what cannot be scored together is scored in halves, None for a row that cannot be scored."""
        if not rows:
            return []
        skip = len(self.layout.target_prefix)  # given, not chosen by the model
        try:
            results = self.model.score_batch(
                [row[0] for row in rows],
                [row[1] for row in rows],
                max_batch_size=self.settings.batch_tokens,
                batch_type="tokens",
                max_input_length=0,
            )
        except (RuntimeError, ValueError):
            if len(rows) == 1:
                return [None]
            half = (len(rows) + 1) // 2
            return [*self._scores(rows[:half]), *self._scores(rows[half:])]
        found: list[float | None] = []
        for result in results:
            counted = list(result.log_probs)[skip:]
            found.append(round(sum(counted) / len(counted), 4) if counted else None)
        return found


def _plain(text: str) -> str:
    return " ".join(text.split())


def _pieces_file(folder: Path, names: tuple[str, ...]) -> Path:
    """Return the sentencepiece model of a folder: one of the usual names, or the only file that can be one."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = sorted([*folder.glob("*.model"), *folder.glob("*.spm")])
    if len(found) == 1:
        return found[0]
    raise UserError(f"{folder}: no sentencepiece model beside model.bin; copy it there as {names[0]}")
