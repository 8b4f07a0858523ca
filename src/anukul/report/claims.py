"""What the summary is made of: claims and answers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence of the summary: verdict word ("" for a plain remark), where its numbers stand, what it is about."""

    text: str
    verdict: str = ""
    source: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the summary's questions, answered."""

    question: str
    anchor: str
    headline: str
    claims: tuple[Claim, ...]


def not_run(question: str, anchor: str, step: str) -> Answer:
    """Return the answer where a step was not run."""
    return Answer(
        question, anchor, "Not measured", (Claim(f"The step '{step}' was not run in this run folder."),)
    )
