"""index.html: the sections put into the template, with style and script inlined."""

from importlib import resources

from markupsafe import Markup

from anukul import __version__
from anukul.report import palette
from anukul.report.blocks import Section
from anukul.report.data import RunData
from anukul.report.format import count
from anukul.report.sections import corpus, generation, heads, ledger, more, provenance, scores, training
from anukul.report.summary import answers


def shown_model(path: str) -> str:
    """Return a base as people name it: a hub name as it stands, of a folder the last two names."""
    parts = [part for part in path.split("/") if part]
    return "/".join(parts[-2:])


def title_of(data: RunData) -> str:
    """Return the report's title: as configured, or language and base."""
    base = data.config.model.path.rstrip("/").rsplit("/", 1)[-1]
    return data.config.report.title or f"{data.language(data.config.language)} for {base}"


def sections_of(data: RunData) -> list[Section]:
    """Return the sections after the summary, in order."""
    generated = generation.section(data)
    known = more.section(data)
    followed = ledger.section(data)
    return [
        corpus.section(data),
        training.section(data),
        *([followed] if followed else []),
        scores.learned(data),
        scores.forgot(data),
        scores.shots(data),
        *([known] if known else []),
        *([generated] if generated else []),
        heads.section(data),
        provenance.section(data),
    ]


def facts_of(data: RunData) -> list[tuple[str, str]]:
    """Return the few facts under the title."""
    config = data.config
    facts = [
        ("Run", config.name),
        ("Learns", f"{data.language(config.language)} ({config.language})"),
        ("Base model", shown_model(config.model.path)),
        (
            "Weights held as",
            {"nf4": "NF4, 4 bits", "none": config.model.compute_dtype}[config.model.quantization],
        ),
    ]
    if config.train:
        facts.append(("LoRA rank", str(config.train.lora.rank)))
    trained = [stage.rows.get("trainable_parameters") for stage in data.stages]
    if trained and trained[-1]:
        facts.append(("Trained parameters", count(trained[-1])))
    tokens = sum(stage.rows.get("tokens") or 0 for stage in data.stages)
    if tokens:
        facts.append(("Tokens seen", count(tokens)))
    return facts


def lead_of(data: RunData) -> str:
    """Return the first sentence: what was compared with what."""
    config = data.config
    target, base = data.language(config.language), data.language(config.base_language)
    return (
        f"The model {shown_model(config.model.path)} was adapted to {target}. “Base” is the model before, “adapted” "
        "the same model "
        f"with what it learned switched on; both answered the same items, and each claim below follows from the "
        f"interval of their paired difference. {base} is the language that the base knew."
    )


def render(data: RunData) -> str:
    """Return the page as HTML; every text from the run is escaped by the template."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("anukul.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    confidence = data.evaluation.confidence if data.evaluation else 0.95
    return environment.get_template("page.html.jinja").render(
        title=title_of(data),
        name=data.config.name,
        facts=facts_of(data),
        lead=lead_of(data),
        answers=answers(data),
        sections=sections_of(data),
        confidence=f"{100 * confidence:g} %",
        version=__version__,
        css=Markup(_part("page.css") + palette.css()),
        js=Markup(_part("page.js")),
    )


def _part(name: str) -> str:
    return resources.files("anukul.report").joinpath("templates", name).read_text(encoding="utf-8")
