"""What contamination.json says: rows dropped and items touched, by set, with samples to read."""

from collections.abc import Iterable, Sequence
from typing import Any

from anukul.contamination.index import Contamination, Hit

SAMPLES = 10  # rows shown for each set
SHOWN = 300  # characters of a row


# a side of a row: its name, such as corpus or pairs.source, its text, and what it holds
Side = tuple[str, str, Sequence[Hit]]


class Tally:
    """Counts of one step or shard; shards are added up in their order."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}  # dropped, by set
        self.exact: dict[str, int] = {}  # of these those that are an item
        self.sides: dict[
            str, dict[str, int]
        ] = {}  # of these by the side that holds it, where rows have sides
        self.items: dict[str, set[str]] = {}  # touched, by set
        self.samples: dict[str, list[dict[str, Any]]] = {}
        self.dropped = 0

    def add(self, row: str, source: str, text: str, hits: Sequence[Hit], side: str = "") -> None:
        """Take in a dropped row of one text: its id, where it came from, its text, and what it holds."""
        self.add_sides(row, source, [(side, text, hits)])

    def add_sides(self, row: str, source: str, sides: Sequence[Side]) -> None:
        """Take in a dropped row of several texts; one that holds nothing is not dropped, and not counted."""
        found = [(hit, side, text) for side, text, hits in sides for hit in hits]
        self.dropped += bool(found)
        for name in dict.fromkeys(hit.set for hit, _, _ in found):
            held = [one for one in found if one[0].set == name]
            self.rows[name] = self.rows.get(name, 0) + 1
            self.exact[name] = self.exact.get(name, 0) + any(hit.how == "exact" for hit, _, _ in held)
            by_side = self.sides.setdefault(name, {})
            for side in dict.fromkeys(side for _, side, _ in held if side):
                by_side[side] = by_side.get(side, 0) + 1
            self.items.setdefault(name, set()).update(hit.item for hit, _, _ in held)
            best, where, text = max(held, key=lambda one: one[0].share)
            sample: dict[str, Any] = {"row": row, "source": source, "text": text[:SHOWN], "item": best.item}
            sample |= {"how": best.how, "share": round(best.share, 3), "item_text": best.excerpt}
            sample |= {"side": where} if where else {}
            self.samples.setdefault(name, []).append(sample)
            del self.samples[name][SAMPLES:]

    def as_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {
            "dropped": self.dropped,
            "sets": {
                name: {
                    "rows": self.rows[name],
                    "exact": self.exact[name],
                    "sides": self.sides[name],
                    "items": sorted(self.items[name]),
                    "samples": self.samples[name],
                }
                for name in sorted(self.rows)
            },
        }

    @classmethod
    def summed(cls, parts: Iterable[dict[str, Any]]) -> "Tally":
        """Return the sum of tallies that `as_json` gave, in their order."""
        total = cls()
        for part in parts:
            total.dropped += part["dropped"]
            for name, counts in part["sets"].items():
                total.rows[name] = total.rows.get(name, 0) + counts["rows"]
                total.exact[name] = total.exact.get(name, 0) + counts["exact"]
                by_side = total.sides.setdefault(name, {})
                for side, rows in counts["sides"].items():
                    by_side[side] = by_side.get(side, 0) + rows
                total.items.setdefault(name, set()).update(counts["items"])
                total.samples[name] = [*total.samples.get(name, []), *counts["samples"]][:SAMPLES]
        return total

    def report(self, index: Contamination) -> dict[str, Any]:
        """Return what contamination.json holds: for every set how many items it has, and which were found."""
        return {
            "method": {"ngram": index.ngram, "share": index.share, "min_words": index.min_words},
            "dropped": self.dropped,
            "sets": {
                name: {
                    "items": size,
                    "items_touched": len(self.items.get(name, ())),
                    "rows_dropped": self.rows.get(name, 0),
                    "exact": self.exact.get(name, 0),
                    "sides": dict(sorted(self.sides.get(name, {}).items())),
                    "touched": sorted(self.items.get(name, ()), key=in_order),
                    "samples": self.samples.get(name, []),
                }
                for name, size in sorted(index.sets.items())
            },
        }


def in_order(item: str) -> tuple[int, str]:
    """Sort numbers as numbers."""
    return (int(item) if item.isdecimal() else -1), item
