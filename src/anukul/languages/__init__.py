"""One YAML file per language, named by its FLORES-200 code, and nothing about a language anywhere else."""

import re
from functools import cache
from importlib import resources
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from anukul.errors import UserError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Thresholds(_Part):
    """Numbers of the language identification; their sources stand in the YAML files."""

    margin: float = Field(description="a rival wins when its evidence leads by more than this")
    function_word_weight: float = Field(gt=0.0)
    suffix_weight: float = Field(ge=0.0)
    identifier_weight: float = Field(ge=0.0, description="per nat of py3langid's log ratio")
    identifier_cap: float = Field(gt=0.0, description="nats; py3langid alone is surer than it is right")


class Quality(_Part):
    """Thresholds of the quality filters, in FineWeb-2's meaning; their sources stand in the YAML files."""

    language_score: float = Field(
        ge=0.0, le=1.0, description="least probability of a document, when GlotLID is used"
    )
    min_word_length: float = Field(ge=0.0, description="mean, in code points, as the rest")
    max_word_length: float = Field(gt=0.0)
    min_alphabetic_words: float = Field(ge=0.0, le=1.0, description="share of words that hold a letter")
    max_duplicate_lines: float = Field(
        ge=0.0, le=1.0, description="share of lines that repeat an earlier one"
    )
    max_top_ngrams: tuple[float, float, float] = Field(
        strict=False, description="share of the characters in the most frequent 2-, 3-, 4-gram"
    )
    max_duplicate_ngrams: tuple[float, float, float, float, float, float] = Field(
        strict=False, description="share of the characters in repeated 5- to 10-grams"
    )
    min_stop_words: int = Field(ge=0)
    stop_words: frozenset[str] = Field(strict=False)


class Phone(_Part):
    """How telephone numbers are written where the language is spoken."""

    numbers: tuple[str, ...] = Field(
        strict=False, description="national forms as patterns of digits 0-9, separators left out"
    )
    words: frozenset[str] = Field(strict=False, description="words that announce a telephone number")
    amounts: frozenset[str] = Field(strict=False, description="words beside a number that is none")

    @model_validator(mode="after")
    def _patterns(self) -> Self:
        for pattern in self.numbers:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"numbers: {pattern}: {error}") from None
        return self


class Language(_Part):
    """What the project knows about one language."""

    code: str = Field(pattern=r"^[a-z]{3}_[A-Z][a-z]{3}$")
    name: str
    native_name: str
    iso639_1: str | None = Field(pattern=r"^[a-z]{2}$")
    iso639_3: str = Field(pattern=r"^[a-z]{3}$")
    script: str = Field(description="Unicode script name, as in \\p{Script=...}")
    sentence_enders: str
    digits: str = Field(min_length=10, max_length=10, description="the language's own digits, zero first")
    abbreviations: frozenset[str] = Field(
        strict=False, description="words before a full stop that ends nothing"
    )
    quotatives: frozenset[str] = Field(
        frozenset(), strict=False, description="words after a quotation with which its sentence goes on"
    )
    function_words: frozenset[str] = Field(
        strict=False, description="closed-class words: evidence for the language"
    )
    suffixes: frozenset[str] = Field(strict=False, description="attached case markers and verb endings")
    confusables: tuple[str, ...] = Field(
        strict=False, description="languages with a YAML here that look like it"
    )
    identifier_rivals: tuple[str, ...] = Field(
        strict=False, description="py3langid labels it is compared with"
    )
    thresholds: Thresholds
    quality: Quality
    boilerplate: frozenset[str] = Field(
        strict=False, description="what web pages say around a text: menus, share buttons, notices"
    )
    phone: Phone
    question_word: str = Field(description="what stands before a question in a prompt, without colon")
    answer_word: str
    instruction_word: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.code.startswith(self.iso639_3):
            raise ValueError(f"code {self.code} must begin with iso639_3 {self.iso639_3}")
        if self.code in self.confusables or self.iso639_1 in self.identifier_rivals:
            raise ValueError("a language is not its own rival")
        return self


def available() -> list[str]:
    """Return the codes of the languages that have a YAML file."""
    names = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


@cache
def load(code: str) -> Language:
    """Return the language of a FLORES-200 code such as npi_Deva; raise UserError when it is not known."""
    codes = available()
    if code not in codes:
        raise UserError(
            f"language '{code}': not known; there are {', '.join(codes)}. To add one, copy "
            f"src/anukul/languages/{codes[0]}.yaml to {code}.yaml and change what it says"
        )
    text = resources.files(__name__).joinpath(f"{code}.yaml").read_text(encoding="utf-8")
    return parse(text, code)


def parse(text: str, code: str) -> Language:
    """Return the language that a YAML text describes; raise UserError that names every fault."""
    try:
        language = Language.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise UserError(f"languages/{code}.yaml: not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise UserError(f"languages/{code}.yaml: {faults}") from None
    if language.code != code:
        raise UserError(f"languages/{code}.yaml: its code says {language.code}")
    return language
