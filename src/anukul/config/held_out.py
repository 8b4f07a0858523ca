"""Held-out texts and tables of labelled texts: the ledger, evaluate and the probe all name some."""

from pydantic import Field

from anukul.config.section import Section


class LabelSettings(Section):
    """How a table of labelled texts becomes a task: every label is a choice after the text and the question."""

    text: str = Field("text", description="column of the text")
    label: str = Field("label", description="column of the label")
    question: str = Field("", description="a line after the text, such as `Topic:` in the task's language")
    names: dict[str, str] = Field({}, description="what each label is called in the prompt; default: itself")


class HeldOutText(Section):
    """Held-out lines whose bits per byte are measured."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    path: str
    language: str
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)
