"""What translation models want around a text: which tokens, and for some which form of the text itself.

NLLB: the source begins with the token of its language and ends with `</s>`; the decoder is given the token of the
target language first (Hugging Face documentation of NLLB). OPUS-MT: `source.spm` and `target.spm`; a model into several
languages wants `>>xxx<<` before the source, where xxx is the target by ISO 639 (Tiedemann & Thottingal 2020).
IndicTrans2: both language codes before the source, digits 0-9, words and punctuation apart, and every Brahmic script
written as Devanagari (Gala et al. 2023, section 3 and the authors' inference engine).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.config import TranslateSettings
from anukul.errors import UserError
from anukul.languages import Language
from anukul.synth.translate.indic import after_indictrans, before_indictrans

END = "</s>"


def unchanged(text: str) -> str:
    """Return a text as it is."""
    return text


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands around the pieces of a text, and what is done to the text before and after."""

    source_prefix: tuple[str, ...] = ()
    source_suffix: tuple[str, ...] = ()
    target_prefix: tuple[str, ...] = ()
    before: Callable[[str], str] = unchanged
    after: Callable[[str], str] = unchanged
    written: Callable[[str], str] = unchanged  # a text of the target language as the model writes it


@dataclass(frozen=True, slots=True)
class Folder:
    """What a CTranslate2 folder says of its model."""

    path: Path
    vocabulary: frozenset[str]  # source tokens; empty where the folder lists none
    adds_end: bool  # the engine puts the end token behind the source by itself
    end: str


def read_folder(path: Path) -> Folder:
    """Read config.json and the vocabulary of a CTranslate2 folder."""
    config = path / "config.json"
    data: dict[str, Any] = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    vocabulary: list[str] = []
    for name in ("source_vocabulary", "shared_vocabulary"):
        if (path / f"{name}.json").is_file():
            vocabulary = json.loads((path / f"{name}.json").read_text(encoding="utf-8"))
        elif (path / f"{name}.txt").is_file():
            vocabulary = (path / f"{name}.txt").read_text(encoding="utf-8").split("\n")
        if vocabulary:
            break
    return Folder(
        path, frozenset(vocabulary), bool(data.get("add_source_eos")), str(data.get("eos_token") or END)
    )


def layout_of(settings: TranslateSettings, folder: Folder, source: Language, target: Language) -> Layout:
    """Return the layout of a model's family; raise UserError where the model does not know the languages."""
    return FAMILIES[settings.family](settings, folder, source, target)


def _plain(settings: TranslateSettings, folder: Folder, source: Language, target: Language) -> Layout:
    # the default suffix is the end token; a model whose engine adds it would read it twice
    suffix = () if folder.adds_end and settings.source_suffix == (END,) else settings.source_suffix
    return Layout(settings.source_prefix, suffix, settings.target_prefix)


def _nllb(settings: TranslateSettings, folder: Folder, source: Language, target: Language) -> Layout:
    for language in (source, target):
        _need(settings, folder, language.code)
    return Layout((source.code,), _end(folder), (target.code,))


def _opus(settings: TranslateSettings, folder: Folder, source: Language, target: Language) -> Layout:
    tags = sorted(token for token in folder.vocabulary if token.startswith(">>") and token.endswith("<<"))
    if not tags:
        return Layout((), _end(folder))
    script = target.code.partition("_")[2]
    codes = (target.iso639_3, f"{target.iso639_3}_{script}", target.iso639_1, *MACRO.get(target.iso639_3, ()))
    tag = next((f">>{code}<<" for code in codes if code and f">>{code}<<" in tags), None)
    if tag is None:
        shown = " ".join(tags[:8]) + (" …" if len(tags) > 8 else "")
        raise UserError(
            f"{settings.model}: translates into {shown}, and none of them is {target.code}; "
            "for another tag use family: plain with source_prefix"
        )
    return Layout((tag,), _end(folder))


# ISO 639-3 macrolanguages under which Tatoeba, OPUS-MT's training data, files a language (iso639-3.sil.org)
MACRO = {"npi": ("nep",), "arb": ("ara",), "zsm": ("msa",), "ory": ("ori",), "lvs": ("lav",), "ekk": ("est",)}


def _indictrans(settings: TranslateSettings, folder: Folder, source: Language, target: Language) -> Layout:
    for language in (source, target):
        _need(settings, folder, language.code)

    def before(text: str) -> str:
        return before_indictrans(text, source)

    def after(text: str) -> str:
        return after_indictrans(text, target)

    def written(text: str) -> str:
        return before_indictrans(text, target)

    return Layout((source.code, target.code), _end(folder), (), before, after, written)


def _end(folder: Folder) -> tuple[str, ...]:
    return () if folder.adds_end else (folder.end,)


def _need(settings: TranslateSettings, folder: Folder, token: str) -> None:
    if folder.vocabulary and token not in folder.vocabulary:
        raise UserError(
            f"{settings.model}: its vocabulary has no language token {token}, which a model of family "
            f"{settings.family} would have; check `family` and the languages of the run"
        )


FAMILIES: dict[str, Callable[[TranslateSettings, Folder, Language, Language], Layout]] = {
    "plain": _plain,
    "nllb": _nllb,
    "opus": _opus,
    "indictrans2": _indictrans,
}
