"""Translation by any engine: one function makes the translator that the settings ask for, another says what it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from anukul.config import TranslateSettings, resolve
from anukul.digests import digest, hash_path
from anukul.errors import UserError
from anukul.languages import Language
from anukul.licenses import of_model
from anukul.synth.translate.base import Told, Translation, Translator, Use
from anukul.synth.translate.ctranslate import CTranslate2Translator
from anukul.synth.translate.endpoint import EndpointTranslator
from anukul.synth.translate.seq2seq import Seq2SeqTranslator

__all__ = [
    "CTranslate2Translator",
    "Told",
    "Translation",
    "Translator",
    "Use",
    "describe",
    "make_translator",
    "name_of",
    "nobody",
]

Make = Callable[[TranslateSettings, Language, Language, str, int, Told], Translator]

ENGINES: dict[str, Make] = {
    "ctranslate2": CTranslate2Translator,
    "transformers": Seq2SeqTranslator,
}
# of the settings, what decides what is written; the rest is where and how fast
DECIDES = ("engine", "family", "source_prefix", "target_prefix", "source_suffix", "beam_size", "sampling")


def nobody(tokens: int, pieces: int) -> None:
    """Hear nothing of the progress."""


def make_translator(
    settings: TranslateSettings,
    source: Language,
    target: Language,
    seed: int,
    told: Told = nobody,
    use: Use | None = None,
) -> Translator:
    """Load what translates from `source` to `target`; raise UserError where it cannot be."""
    if settings.endpoint is not None:
        return EndpointTranslator(settings, source, target, name_of(settings), told, use or Use())
    return ENGINES[settings.engine](settings, source, target, name_of(settings), seed, told)


def model_hash(settings: TranslateSettings) -> str:
    """Return the digest that stands for the model: of its folder, or of its name where an endpoint holds it.

    Of large weights it knows the size and a sample, see `digests.hash_file`: it tells models apart, and proves nothing.
    """
    if settings.endpoint is not None:
        return digest([settings.endpoint.base_url, settings.model, settings.endpoint.prompt])
    folder = resolve(settings.model)
    if not folder.is_dir():
        raise UserError(
            f"{settings.model}: no such folder; synth.translate.model is a model folder on this machine"
        )
    return hash_path(folder)


def name_of(settings: TranslateSettings) -> str:
    """Return the id that rows bear: the model's name and the first eight digits of its hash."""
    name = settings.model if settings.endpoint is not None else Path(resolve(settings.model)).name
    return f"{name}@{model_hash(settings)[:8]}"


def describe(settings: TranslateSettings, seed: int) -> dict[str, Any]:
    """Return what stats.json records of a translator: what it is, its license, and how it decoded."""
    held = settings.model_dump(mode="json")
    more: dict[str, Any] = {"max_output_tokens": settings.max_output_tokens}
    if settings.sampling:
        more["seed"] = seed
    if settings.endpoint is not None:
        more |= {"base_url": settings.endpoint.base_url, "prompt": settings.endpoint.prompt}
        more |= {"temperature": settings.endpoint.temperature}
    return {
        "id": name_of(settings),
        "model": settings.model,
        "fingerprint": model_hash(settings),
        "license": of_model(settings.model, settings.license),
        **{key: held[key] for key in DECIDES},
        **more,
    }
