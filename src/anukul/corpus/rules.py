"""The rules that drop a document: each has a name, a reason in words, and a place in the order."""

from dataclasses import dataclass

from anukul.config import CorpusSettings
from anukul.languages import Language
from anukul.text.identify import identify, in_script


@dataclass(frozen=True, slots=True)
class Drop:
    """Why a document is dropped; `looks_like` is a language code for wrong_language, else ""."""

    rule: str
    detail: str
    looks_like: str = ""


def judge(text: str, language: Language, settings: CorpusSettings) -> Drop | None:
    """Return the first rule that drops a normalised text, None to keep it; duplicates are not judged here."""
    if not text:
        return Drop("empty", "nothing left after normalisation")
    if len(text) < settings.min_characters:
        return Drop("too_short", f"{len(text)} characters, fewer than {settings.min_characters}")
    if len(text) > settings.max_characters:
        return Drop("too_long", f"{len(text)} characters, more than {settings.max_characters}")
    share = in_script(text, language)
    if share < settings.min_script_share:
        detail = f"{share:.2f} of the letters are {language.script}, fewer than {settings.min_script_share}"
        return Drop("wrong_script", detail)
    if settings.language_check:
        verdict = identify(text, language)
        if verdict.language != language.code:
            return Drop("wrong_language", verdict.detail, verdict.language)
    return None
