"""Translation by an encoder-decoder folder of transformers: NLLB, M2M100, Marian and what generates like them."""

from pathlib import Path

from anukul.config import TranslateSettings, resolve
from anukul.errors import UserError
from anukul.languages import Language
from anukul.synth.translate.base import Told, Translation, in_batches, not_ended, translate_texts
from anukul.synth.translate.families import MACRO


class Seq2SeqTranslator:
    """A transformers folder."""

    def __init__(
        self,
        settings: TranslateSettings,
        source: Language,
        target: Language,
        name: str,
        seed: int,
        told: Told,
    ) -> None:
        """Load the model; raise UserError where it cannot be, or does not know the languages."""
        from anukul.model.seq2seq import Draw, Seq2Seq  # in here: it loads torch

        if settings.family == "indictrans2":
            raise UserError(
                f"{settings.model}: IndicTrans2 for transformers runs code from its folder, which is not done here; "
                "use its CTranslate2 form with engine: ctranslate2"
            )
        if not (Path(resolve(settings.model)) / "config.json").is_file():
            raise UserError(f"{settings.model}: no transformers model (config.json) there")
        if settings.devices is not None and len(settings.devices) > 1:
            raise UserError(
                "synth.translate.devices: engine transformers uses one GPU; ctranslate2 uses several"
            )
        self.settings = settings
        self.source, self.target = source, target
        self.name = name
        self.told = told
        device = settings.devices[0] if settings.devices else None
        self.model = Seq2Seq(settings.model, codes_of(source), codes_of(target), device)
        asked = settings.sampling
        self.draw = Draw(asked.temperature, asked.top_k, asked.top_p, seed) if asked else None

    def translate(self, texts: list[str]) -> list[Translation]:
        """Translate texts; line breaks and list marks are kept, long texts go in pieces of whole sentences."""
        limit = self.settings.max_output_tokens
        return translate_texts(texts, self.source, self.target, self.model.size, limit, self._pieces)

    def _pieces(self, pieces: list[str]) -> list[Translation]:
        lengths = [self.model.size(piece) for piece in pieces]
        return in_batches(pieces, lengths, self.settings.batch_tokens, self._call, self.told)

    def _call(self, pieces: list[str]) -> list[Translation]:
        settings = self.settings
        written = self.model.translate(pieces, settings.max_output_tokens, settings.beam_size, self.draw)
        return [
            Translation(one.text, True, one.tokens, input_tokens=one.input_tokens)
            if one.ended
            else not_ended(one.text, one.tokens, one.input_tokens)
            for one in written
        ]


def codes_of(language: Language) -> list[str]:
    """Return the codes that translation models know a language by: FLORES-200 first, then ISO 639."""
    codes = [language.code, language.iso639_1, language.iso639_3, *MACRO.get(language.iso639_3, ())]
    return [code for code in codes if code]
