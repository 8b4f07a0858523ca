"""Minimal pairs: is the grammatical sentence likelier than the ungrammatical one?"""

from anukul.evaluate.whole_texts import Ranking
from anukul.items import pairs

TASK = "agreement"


def load_pairs(path: str, language: str, target: str) -> list[Ranking]:
    """Read minimal pairs as `items.pairs.load_pairs` does: the good sentence should be the likelier.

    `language` is that of rows without one of their own; rows in `target` have the role target, others forgetting.
    """
    return [
        Ranking(
            "agreement",
            TASK,
            pair.language,
            "target" if pair.language == target else "forgetting",
            pair.id,
            pair.cluster,
            pair.split,
            pair.phenomenon,
            (pair.good, pair.bad),
            0,
        )
        for pair in pairs.load_pairs(path, language)
    ]
