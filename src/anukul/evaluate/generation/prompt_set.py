"""The beginnings of texts that both models go on with: the shipped set of a language, or a file of the user's."""

from collections.abc import Sequence
from dataclasses import dataclass

from anukul.config import GenerationSettings
from anukul.configfile import prompts_path
from anukul.errors import UserError
from anukul.items.rows import BadRowError, check_unique, label_of, not_empty, read_jsonl, text_of

LENGTHS = ("short", "medium", "long")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The beginning of a text, which a model goes on with."""

    id: str
    topic: str
    length: str  # of the prompt itself: short (a few words) | medium (a sentence and a beginning) | long (several)
    text: str


def load_prompts(settings: GenerationSettings, language: str) -> list[Prompt]:
    """Read the prompts, the first `limit` of them spread over topics and lengths; UserError names file and line."""
    path = str(prompts_path(settings, language))
    found = []
    for number, row in read_jsonl(path):
        try:
            length = label_of(row, "length", "medium")
            if length not in LENGTHS:
                raise BadRowError(f"'length' must be one of {', '.join(LENGTHS)}, got {length}")
            text = text_of(row, "prompt")
            found.append(Prompt(label_of(row, "id", str(number)), label_of(row, "topic", ""), length, text))
        except BadRowError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
    not_empty(path, found, "prompts")
    check_unique(path, [prompt.id for prompt in found])
    return spread(found, settings.limit or len(found))


def spread(prompts: Sequence[Prompt], limit: int) -> list[Prompt]:
    """Return `limit` prompts in the order of the file, taken from all lengths in turn and evenly over the file."""
    groups = [[prompt for prompt in prompts if prompt.length == length] for length in LENGTHS]
    wanted = [0] * len(LENGTHS)
    while sum(wanted) < min(limit, len(prompts)):
        room = [place for place, group in enumerate(groups) if wanted[place] < len(group)]
        wanted[min(room, key=lambda place: wanted[place])] += 1
    kept = {
        group[len(group) * index // count].id
        for group, count in zip(groups, wanted, strict=True)
        for index in range(count)
    }
    return [prompt for prompt in prompts if prompt.id in kept]
