"""Held-out lines, whose log-likelihood after BOS is counted in bits per UTF-8 byte."""

from anukul.config import HeldOutText
from anukul.evaluate.whole_texts import Ranking
from anukul.items.lines import load_held_out


def load_lines(settings: HeldOutText, target: str) -> list[Ranking]:
    """Read the non-empty lines of a text file, or the `text` of JSONL rows, after `skip` and up to `limit`."""
    role = "target" if settings.language == target else "forgetting"
    return [
        Ranking(
            "bits_per_byte",
            settings.name,
            settings.language,
            role,
            str(number),
            str(number),
            "",
            "",
            (line,),
            -1,
        )
        for number, line in load_held_out(settings)
    ]
