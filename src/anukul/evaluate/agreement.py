"""Minimal pairs: is the grammatical sentence likelier than the ungrammatical one?"""

from anukul.errors import UserError
from anukul.evaluate.whole_texts import Ranking
from anukul.items.rows import BadRowError, check_unique, label_of, not_empty, read_jsonl, text_of

TASK = "agreement"


def load_pairs(path: str, language: str, target: str) -> list[Ranking]:
    """Read rows of good, bad, phenomenon, or BLiMP's own rows; raise UserError naming file and line.

    `language` is that of rows without one of their own; rows in `target` have the role target, others forgetting.
    """
    rankings = []
    for number, row in read_jsonl(path):
        blimp = "sentence_good" in row
        try:
            good = text_of(row, "sentence_good" if blimp else "good")
            bad = text_of(row, "sentence_bad" if blimp else "bad")
            if good == bad:
                raise BadRowError("the good and the bad sentence are the same")
            identifier = label_of(row, "id", str(number))
            spoken = label_of(row, "language", language)
            rankings.append(
                Ranking(
                    "agreement",
                    TASK,
                    spoken,
                    "target" if spoken == target else "forgetting",
                    identifier,
                    label_of(row, "cluster", identifier),
                    label_of(row, "split", ""),
                    label_of(row, "linguistics_term" if blimp else "phenomenon", "unnamed"),
                    (good, bad),
                    0,
                )
            )
        except BadRowError as error:
            raise UserError(f"{path}: line {number}: {error}") from None
    not_empty(path, rankings, "minimal pairs")
    check_unique(path, [ranking.id for ranking in rankings])
    return rankings
