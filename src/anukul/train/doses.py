"""Mix a stage's examples: by source, or by who wrote them; and say what the stage really saw.

Nothing is read more often to reach a share: the set that runs out first, for its share, decides how much of the
others is read. To read a small set more often, say `repeat`.
"""

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from anukul.config import Stage
from anukul.errors import UserError
from anukul.train.formats import Example


def mix(own: Sequence[Example], stage: Stage, context: int, seed: int) -> Sequence[Example]:
    """Return the examples that a stage reads of its own, in their order; all of them where no mix is asked for.

    Raises UserError where a share is asked of nothing, or a source has no share.
    """
    if stage.repeat:
        _know(stage, own, stage.repeat, "repeat")
    if stage.shares:
        _know(stage, own, stage.shares, "shares")
        shares, key = stage.shares, "source"
        unnamed = sorted({example.source for example in own} - stage.shares.keys())
        if unnamed:
            raise UserError(
                f"train.stages: stage '{stage.name}': shares does not name {', '.join(map(repr, unnamed))}; "
                "give each source a share, 0 to leave it out"
            )
        by_rows = stage.shares_by == "rows"
    elif stage.doses:
        shares, key = {"synthetic": stage.doses.synthetic, "organic": stage.doses.organic}, "origin"
        by_rows = False
    else:
        return own
    # what is too long for the context is left out later, and no part of a share
    usable = [example.splittable or len(example.ids) <= context for example in own]
    sizes = [
        (1 if by_rows else len(example.ids)) if fits else 0 for example, fits in zip(own, usable, strict=True)
    ]
    groups: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(own):
        if usable[index]:
            groups[str(getattr(example, key))].append(index)
    kept = _choose(groups, sizes, shares, stage, seed)
    return [own[index] for index in kept]


def _choose(
    groups: Mapping[str, Sequence[int]],
    sizes: Sequence[int],
    shares: Mapping[str, float],
    stage: Stage,
    seed: int,
) -> list[int]:
    wanted = {name: share for name, share in shares.items() if share > 0}
    empty = [name for name in wanted if not groups.get(name)]
    if empty:
        raise UserError(
            f"train.stages: stage '{stage.name}' ({stage.format}) asks for a share of {' and '.join(empty)}, "
            f"of which there is no row; there are {', '.join(sorted(groups)) or 'none'}"
        )
    rng = np.random.default_rng([seed, zlib.crc32(stage.name.encode()), 1])
    whole = {name: sum(sizes[index] for index in groups[name]) for name in wanted}
    total = min(whole[name] / share for name, share in wanted.items()) if wanted else 0.0
    kept: list[int] = []
    for name, share in sorted(wanted.items()):
        members = np.asarray(groups[name])
        if whole[name] > total * share:
            members = rng.permutation(members)
            held = np.cumsum([sizes[index] for index in members])
            # the nearer side of the share
            count = int(np.searchsorted(held, total * share))
            before = held[count - 1] if count else 0
            if count < len(held) and held[count] - total * share <= total * share - before:
                count += 1
            members = members[: max(1, count)]
        kept += members.tolist()
    return sorted(kept)


def _know(stage: Stage, own: Sequence[Example], named: Mapping[str, object], setting: str) -> None:
    """Raise UserError where a setting names a source that no row has: a slip of the pen would change nothing."""
    held = {example.source for example in own}
    strange = sorted(set(named) - held)
    if strange:
        raise UserError(
            f"train.stages: stage '{stage.name}': {setting} names {', '.join(map(repr, strange))}; the sources of its "
            f"rows are {', '.join(map(repr, sorted(held)))}"
        )


def seen(examples: Sequence[Example]) -> list[dict[str, object]]:
    """Return what was read, by source, origin and direction: examples, tokens, learnt tokens and the share of all.

    The most tokens first; replay is an origin of its own.
    """
    found: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for example in examples:
        counts = found[example.source, "replay" if example.replay else example.origin, example.direction]
        for place, amount in enumerate((1, len(example.ids), int(example.learnt[1:].sum()))):
            counts[place] += amount
    total = sum(tokens for _, tokens, _ in found.values()) or 1
    return [
        {
            "source": source,
            "origin": origin,
            "direction": direction,
            "examples": count,
            "tokens": tokens,
            "loss_tokens": learnt,
            "share": round(tokens / total, 6),
        }
        for (source, origin, direction), (count, tokens, learnt) in sorted(
            found.items(), key=lambda item: (-item[1][1], item[0])
        )
    ]
