"""What licenses of text and models allow, by name: the one list that steps, report and cards ask.

Names are SPDX's where SPDX has one (https://spdx.org/licenses), else as their owners call them. Only one question is
answered: may what is under it be used commercially? Share-alike and attribution are duties, and no refusal.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import regex

from anukul.errors import UserError
from anukul.progress import say

if TYPE_CHECKING:
    from anukul.config import RunConfig

Use = Literal["commercial", "noncommercial", "unknown"]

UNKNOWN = ("", "unknown", "other", "none", "n/a", "noassertion", "?")
# CC-BY-NC-4.0, cc-by-nc-sa-3.0, "Creative Commons Attribution-NonCommercial", "research only", "academic use"
NONCOMMERCIAL = regex.compile(
    r"(?i)(?<![a-z])nc(?![a-z])|non[\s_-]?commercial|research[\s_-](?:use[\s_-])?only|(?:for|only)[\s_-]research|"
    r"academic[\s_-](?:use|only|research)|evaluation[\s_-]only|personal[\s_-]use|"
    r"polyform-(?:noncommercial|strict|internal|small)"
)
# Public domain and permissive licenses, copyleft among them, of text, code and weights. Community licenses of models
# that allow commercial use under conditions (Llama: fewer than 700 million users a month) count as commercial.
COMMERCIAL = regex.compile(
    r"(?i)(?:cc[\s_-]?0(?:-1\.0)?|cc-pdm(?:-1\.0)?|pddl(?:-1\.0)?|public[\s_-]domain|unlicense|wtfpl|0bsd|"
    r"cc[\s_-]by(?:[\s_-](?:sa|nd))?(?:[\s_-][1-4]\.\d)?(?:-[a-z]{2,4})?|odc-by(?:-1\.0)?|odbl(?:-1\.0)?|mit(?:-0)?|"
    r"apache(?:[\s_-]license)?[\s_-]?2(?:\.0)?|bsd(?:-[23]-clause(?:-clear)?)?|isc|zlib|artistic-2\.0|mpl-2\.0|"
    r"epl-[12]\.0|eupl-1\.[12]|[al]?gpl-[123](?:\.\d)?(?:-only|-or-later|\+)?|gfdl(?:-1\.[123])?(?:-or-later)?|"
    r"cdla-(?:permissive|sharing)-[12]\.0|bigscience-(?:bloom-)?rail-?[\w.-]*|(?:bigcode-)?openrail(?:\+\+|-m)?|"
    r"(?:meta[\s_-])?llama[\s_-]?[234]?(?:[.\d]*)(?:[\s_-]community)?(?:[\s_-]license)?(?:[\s_-]agreement)?|"
    r"gemma(?:[\s_-]terms[\s\w]*)?|ogl(?:-uk)?-[123]\.0|nlod-[12]\.0)"
)
JOINED = regex.compile(r"\s+(?:AND|WITH|and)\s+|\s*[;&]\s*")
# Models whose name says whose license they are under, wherever the folder came from.
MODELS = (
    (regex.compile(r"(?i)nllb"), "CC-BY-NC-4.0"),
    (regex.compile(r"(?i)seamless"), "CC-BY-NC-4.0"),
    (regex.compile(r"(?i)\baya-|command-r|c4ai-"), "CC-BY-NC-4.0"),
    (regex.compile(r"(?i)indictrans-?2"), "MIT"),
    (regex.compile(r"(?i)opus-?mt"), "CC-BY-4.0"),
    (regex.compile(r"(?i)madlad"), "Apache-2.0"),
    (regex.compile(r"(?i)(?:^|/)m2m100"), "MIT"),
    (regex.compile(r"(?i)llama-?3|llama-?2|meta-llama/"), "Llama Community License"),
    (regex.compile(r"(?i)mistral|qwen2|olmo"), "Apache-2.0"),
)


def is_unknown(name: str) -> bool:
    """Whether a license name says nothing."""
    return name.strip().casefold() in UNKNOWN


def use_of(name: str, declared: Mapping[str, Use] | None = None) -> Use:
    """Return what a license name allows; of several that are joined (`A AND B`) the strictest counts.

    `declared` is what run.yaml says of names that this list does not know, or knows otherwise.
    """
    if declared and name in declared:
        return declared[name]
    parts = [part for part in JOINED.split(name.strip()) if part]
    if len(parts) > 1:
        uses = [use_of(part, declared) for part in parts]
        return next((use for use in ("noncommercial", "unknown") if use in uses), "commercial")
    # "A OR B" leaves the choice
    choice = regex.split(r"(?i)\s+or\s+", name.strip())
    if len(choice) > 1 and "commercial" in (use_of(part, declared) for part in choice):
        return "commercial"
    if is_unknown(name):
        return "unknown"
    if NONCOMMERCIAL.search(name):
        return "noncommercial"
    return "commercial" if COMMERCIAL.fullmatch(name.strip()) else "unknown"


def noncommercial(name: str) -> bool:
    """Whether a license forbids commercial use, as far as its name says."""
    return use_of(name) == "noncommercial"


def of_model(name: str, declared: str = "unknown") -> str:
    """Return the license of a model: as declared, else as its name tells, else `unknown`."""
    if not is_unknown(declared):
        return declared
    return next((license_name for pattern, license_name in MODELS if pattern.search(name)), "unknown")


def both(text: str, model: str) -> str:
    """Return the license of a translated row: that of the text and that of the model, as SPDX joins them."""
    return text if text == model else f"{text} AND {model}"


@dataclass(frozen=True, slots=True)
class Part:
    """Something that a run takes in under a license: where run.yaml names it, what it is, and the license."""

    key: str
    what: str
    license: str
    named_in: str = ""  # where run.yaml says the license

    @property
    def model(self) -> bool:
        """Whether it is a model whose name may tell another license than the one declared."""
        return self.key.endswith(("translate", "translator"))


def parts_of(config: "RunConfig") -> list[Part]:
    """Return every text, model and row set that training takes in, with the license that is known of it.

    An input whose rows name a license each is none of them: see `check_rows`.
    """
    base = config.model
    found = [Part("model", base.path, of_model(base.path, base.license), "model.license")]
    if config.corpus:
        for kind, items in (("inputs", config.corpus.inputs), ("replay", config.corpus.replay)):
            found += [
                _text(f"corpus.{kind}.{i}", item.path, item.license)
                for i, item in enumerate(items)
                if item.license_column is None
            ]
    if config.synth:
        for i, item in enumerate(config.synth.pairs):
            found.append(_text(f"synth.pairs.{i}", item.source, item.license))
            if item.origin == "synthetic":
                license_name = of_model(item.translator, item.translator_license)
                where = f"synth.pairs.{i}.translator_license"
                what = item.translator or f"what made the synthetic side of {item.source}"
                found.append(Part(f"synth.pairs.{i}.translator", what, license_name, where))
        for i, given in enumerate(config.synth.instructions):
            found.append(_text(f"synth.instructions.{i}", given.path, given.license))
            if given.translate:
                found.append(_translator(f"synth.instructions.{i}.translate", given.translate))
        if config.synth.translate:
            found.append(_translator("synth.translate", config.synth.translate))
        for key, filter_settings in (
            ("forced_score", config.synth.forced_score),
            ("round_trip", config.synth.round_trip),
        ):
            if filter_settings:
                found.append(_translator(f"synth.{key}.translator", filter_settings.translator))
    return found


def _text(key: str, path: str, license_name: str) -> Part:
    return Part(key, path, license_name, f"{key}.license")


def _translator(key: str, settings: Any) -> Part:
    return Part(key, settings.model, of_model(settings.model, settings.license), f"{key}.license")


def refuse(config: "RunConfig") -> None:
    """Raise UserError naming every input and model that `license: commercial` does not allow; else do nothing."""
    if config.license != "commercial":
        return
    faults = [_fault(part, use_of(part.license, config.licenses)) for part in parts_of(config)]
    faults += [
        f"  {part.key}: {part.what}: declared as {part.license}, but models of this name are {named}"
        for part in parts_of(config)
        if part.model
        and use_of(part.license, config.licenses) == "commercial"
        and noncommercial(named := of_model(part.what))
        and part.license not in config.licenses
    ]
    told = [fault for fault in faults if fault]
    if told:
        raise UserError("\n".join(["license: commercial refuses", *told]))


def refuse_rows(kept: dict[str, int], where: str, config: "RunConfig") -> None:
    """Raise UserError where rows that stand in a run folder are under a license that the run refuses.

    `kept` is {license: rows}.
    """
    if config.license != "commercial":
        return
    for name, rows in kept.items():
        if rows and use_of(name, config.licenses) != "commercial":
            raise UserError(
                f"license: commercial refuses {rows:,} rows of {where} under '{name}'; "
                "leave their input out and redo the step, or declare the license in `licenses`"
            )


def say_unknown(what: str, unknown: Sequence[str]) -> None:
    """Say what nobody has said of an input; nothing where all is said."""
    if unknown:
        is_are, it_them = ("is", "it") if len(unknown) == 1 else ("are", "them")
        say(
            f"{what}: {' and '.join(unknown)} {is_are} unknown; name {it_them} in run.yaml, where rows, adapter and "
            "model card take it from"
        )


def check_rows(path: Path, where: str, config: "RunConfig") -> None:
    """Raise UserError where rows of a Parquet file are under a license that the run refuses, or their translator is.

    Rows that name their license in a column are known only once they are read.
    """
    if config.license != "commercial" or not path.exists():
        return
    import pyarrow.parquet as pq

    held: Counter[str] = Counter()
    with pq.ParquetFile(path) as file:
        names = [name for name in ("license", "translator_license") if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=names):
            for name, column in zip(names, batch.columns, strict=True):
                held.update(one for one in column.to_pylist() if one or name == "license")
    refuse_rows(dict(sorted(held.items())), where, config)


def _fault(part: Part, use: Use) -> str:
    if use == "commercial":
        return ""
    if use == "noncommercial":
        return f"  {part.key}: {part.what}: {part.license} is not for commercial use"
    if is_unknown(part.license):
        return f"  {part.key}: {part.what}: no license is given; name it in {part.named_in}"
    return (
        f"  {part.key}: {part.what}: '{part.license}' is not on the list; if you may use it commercially, "
        f'declare it: `licenses: {{"{part.license}": commercial}}`'
    )
