"""Translation models of transformers: an encoder-decoder folder, its languages, and whether what it wrote ended."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anukul.errors import UserError
from anukul.model.generate import Sampling, _Sampler
from anukul.model.loaded import pick_device


@dataclass(frozen=True, slots=True)
class Written:
    """What the decoder wrote: its text, its tokens with the end token, whether that came, the tokens it was given."""

    text: str
    tokens: int
    ended: bool
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Draw:
    """How to sample; each text draws from a generator of its own, seeded by `seed` and the text."""

    temperature: float
    top_k: int
    top_p: float
    seed: int


class Seq2Seq:
    """An encoder-decoder model with its tokenizer, from one language to another."""

    def __init__(
        self, folder: str, source: Sequence[str], target: Sequence[str], device: int | None = None
    ) -> None:
        """Load a folder; `source` and `target` are the codes a tokenizer may know the languages by, the best first.

        Raises UserError where the folder holds no such model, or one that does not know the languages.
        """
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
        path = str(Path(folder).expanduser())
        self.device = torch.device("cuda", device) if device is not None else pick_device()
        try:
            with warnings.catch_warnings():
                # Marian's tokenizer asks for a normaliser of punctuation that it does not use by itself
                warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
                self.tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
            model: Any = AutoModelForSeq2SeqLM.from_pretrained(path, dtype="auto", trust_remote_code=False)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            words = " ".join(str(error).split())[:300]
            raise UserError(f"{folder}: cannot be loaded as a translation model: {words}") from None
        self.model: Any = model.to(self.device).eval().requires_grad_(False)
        self.tokenizer.model_max_length = int(1e9)  # lengths are seen to by who cuts the text
        self._languages(folder, source, target)
        self._settings()

    def _languages(self, folder: str, source: Sequence[str], target: Sequence[str]) -> None:
        """Find out how the tokenizer names the languages: NLLB's tokens, M2M100's, or Marian's >>xxx<< tags."""
        vocabulary = self.tokenizer.get_vocab()
        self.tag = ""
        self.forced: int | None = None
        tags = [token for token in vocabulary if token.startswith(">>") and token.endswith("<<")]
        if tags:
            tag = next((f">>{code}<<" for code in target if f">>{code}<<" in tags), None)
            if tag is None:
                raise UserError(
                    f"{folder}: translates into {' '.join(sorted(tags)[:8])}, not into {target[0]}"
                )
            self.tag = f"{tag} "
            return
        if not hasattr(self.tokenizer, "src_lang"):
            return  # one language into one other
        given = next((code for code in source if self._token(code, vocabulary) is not None), None)
        tokens = (self._token(code, vocabulary) for code in target)
        self.forced = next((token for token in tokens if token is not None), None)
        if given is None or self.forced is None:
            missing = source[0] if given is None else target[0]
            raise UserError(f"{folder}: its tokenizer has no language token for {missing}")
        self.tokenizer.src_lang = given

    def _token(self, code: str, vocabulary: dict[str, int]) -> int | None:
        """Return the token of a language: NLLB has it under its code, M2M100 apart from the vocabulary."""
        if code in getattr(self.tokenizer, "lang_code_to_token", {}):
            return int(self.tokenizer.get_lang_id(code))
        return vocabulary.get(code)

    def _settings(self) -> None:
        from transformers import GenerationConfig

        shipped: Any = self.model.generation_config
        ends = shipped.eos_token_id if shipped.eos_token_id is not None else self.model.config.eos_token_id
        self.ends = {int(end) for end in (ends if isinstance(ends, list) else [ends]) if end is not None}
        if not self.ends:
            raise UserError("the translation model names no end token: what it cut could not be told")
        self.start = shipped.decoder_start_token_id
        if self.start is None:
            self.start = self.model.config.decoder_start_token_id
        self.pad = int(shipped.pad_token_id if shipped.pad_token_id is not None else min(self.ends))
        self.never = shipped.bad_words_ids
        # Many folders ship a forced end token: at its limit the decoder would write it, and a cut look like an end.
        self.model.generation_config = GenerationConfig()

    def size(self, text: str) -> int:
        """Return the tokens of a text, special ones counted."""
        return len(self.tokenizer(text)["input_ids"]) if text else 0

    def translate(
        self, texts: Sequence[str], limit: int, beam_size: int = 1, draw: Draw | None = None
    ) -> list[Written]:
        """Translate texts as one batch; at most `limit` tokens are written for each."""
        from transformers import GenerationConfig, LogitsProcessorList

        given = self.tokenizer([f"{self.tag}{text}" for text in texts], return_tensors="pt", padding=True)
        settings = GenerationConfig(
            do_sample=False,
            num_beams=beam_size,
            max_new_tokens=limit,
            decoder_start_token_id=self.start,
            forced_bos_token_id=self.forced,
            forced_eos_token_id=None,
            bad_words_ids=self.never,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.pad,
        )
        picking = None
        if draw is not None:
            sampling = Sampling(
                draw.temperature, draw.top_p, tuple(map(self._seed(draw.seed), texts)), draw.top_k
            )
            picking = LogitsProcessorList([_Sampler(sampling, 1, limit)])
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=given["input_ids"].to(self.device),
                attention_mask=given["attention_mask"].to(self.device),
                generation_config=settings,
                logits_processor=picking,
            )
        counts = given["attention_mask"].sum(dim=1).tolist()
        return [self._read(row, count) for row, count in zip(output[:, 1:].tolist(), counts, strict=True)]

    @staticmethod
    def _seed(seed: int) -> Any:
        def of(text: str) -> int:
            named = f"{seed}\t{text}".encode("utf-8", "surrogatepass")
            return int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1

        return of

    def _read(self, row: list[int], given: int) -> Written:
        place = next((place for place, token in enumerate(row) if token in self.ends), None)
        held = row if place is None else row[:place]
        text = self.tokenizer.decode([token for token in held if token != self.pad], skip_special_tokens=True)
        return Written(" ".join(text.split()), len(held) + (place is not None), place is not None, int(given))
