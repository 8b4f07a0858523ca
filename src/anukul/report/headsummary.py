"""The summary's last answer: which attention heads read the grammar, and whether the model needs them."""

from anukul.report.claims import Answer, Claim, not_run
from anukul.report.data import RunData
from anukul.report.format import count, interval, listing, p_value, percent, plural, points
from anukul.report.probedata import Choice, Finding, Knockout, Probe
from anukul.report.verdicts import certain_of, harm_verdict, head_verdict, reads, verdict_of

QUESTION, ANCHOR = "Which attention heads read the grammar?", "heads"


def heads(data: RunData) -> Answer:
    """Answer which attention heads resolve the grammar, whether they changed, and whether they are needed."""
    probe = data.probe
    if probe is None:
        return not_run(QUESTION, ANCHOR, "probe")
    if not probe.findings:
        return Answer(QUESTION, ANCHOR, "Nothing measured", (Claim("No relation had enough arcs."),))
    claims = [_known(probe)] if probe.knowers else [_beyond(probe)]
    claims += _tree(probe)
    if probe.knockout and probe.knockout.heads:
        claims += _knockout(probe.knockout)
    claims += [_head_claim(finding) for finding in _shown(probe)]
    return Answer(QUESTION, ANCHOR, _headline(probe), tuple(claims))


def _headline(probe: Probe) -> str:
    found = probe.findings
    if not probe.knowers:
        above = [sum(reads(choice) for choice in side) for side in _sides(found)]
        certain = [sum(reads(choice) and certain_of(choice) for choice in side) for side in _sides(found)]
        return (
            f"Beyond a fixed offset on {above[1]} of {plural(len(found), 'relation')} (base: {above[0]}); "
            f"after correction, on {certain[1]} (base: {certain[0]})"
        )
    base, adapted = (_known_relations(side) for side in _sides(found))
    heads_of = [len(probe.knowers.get(model, ())) for model in ("base", "adapted")]
    if not heads_of[0] and not heads_of[1]:
        return f"None that every control confirms, on {plural(len(found), 'relation')} tested"
    return (
        f"{plural(heads_of[1], 'head')} of the adapted model on {adapted} of {plural(len(found), 'relation')} (base: "
        f"{plural(heads_of[0], 'head')} on {base})"
    )


def _sides(found: tuple[Finding, ...]) -> tuple[list[Choice], list[Choice]]:
    return [finding.base for finding in found], [finding.adapted for finding in found]


def _known_relations(side: list[Choice]) -> int:
    return sum(bool(choice.knowing) for choice in side)


def _known(probe: Probe) -> Claim:
    """Return which relations are known by every control."""
    known = [finding for finding in probe.findings if finding.adapted.knowing]
    names = [f"{f.relation} ({', '.join(f.adapted.knowing[:3])})" for f in known[:4]]
    more = f" and {len(known) - 4} more" if len(known) > 4 else ""
    what = f"In the adapted model: {listing(names)}{more}. " if known else ""
    changed = probe.changed
    moved = (
        f" {count(changed.gained)} heads gained and {count(changed.lost)} lost on a relation, of "
        f"{count(changed.tests)} comparisons."
        if changed
        else ""
    )
    return Claim(
        f"Of n = {plural(len(probe.findings), 'pair')} of relation and direction, heads of the adapted model know "
        f"{len(known)}, heads of the base {_known_relations(_sides(probe.findings)[0])}: they find more than the best "
        "rule “look k words back”, than random weights and than the same arcs shuffled, each after correction for the "
        f"number of comparisons. {what}Heads were chosen on one half of the sentences and judged on the "
        f"other.{moved}",
        "",
        "probe/selected.json: resolvers, changed",
    )


def _beyond(probe: Probe) -> Claim:
    """Return how many relations have a head above the fixed offset, for a probe without the further controls."""
    found = probe.findings
    above = [sum(reads(choice) for choice in side) for side in _sides(found)]
    certain = [sum(reads(choice) and certain_of(choice) for choice in side) for side in _sides(found)]
    return Claim(
        f"Of n = {plural(len(found), 'pair')} of relation and direction, a head of the base model beats the "
        f"best rule of the kind “look k words back” on {above[0]}, a head of the adapted model on {above[1]}. "
        f"After correction for the number of comparisons (q at most .05) that leaves {certain[0]} and "
        f"{certain[1]}. Heads were chosen on one half of the sentences and are reported on the other.",
        "",
        "probe/selected.json: relations[*].base.difference, .adapted.difference, .q",
    )


def _tree(probe: Probe) -> list[Claim]:
    tree = probe.tree
    if tree is None:
        return []
    change = tree.differences["adapted_minus_base"]
    values = tree.values
    return [
        Claim(
            f"The best head of each relation finds {interval(values['base'], True)} of n = {count(tree.arcs)} arcs in "
            f"the base, {interval(values['adapted'], True)} in the adapted model; difference "
            f"{interval(change.measure, True, signed=True)} points. The best fixed offsets find "
            f"{percent(values['offset'].value)}.",
            verdict_of(change.measure),
            "probe/selected.json: tree",
            "All relations together",
        )
    ]


def _knockout(found: Knockout) -> list[Claim]:
    """Return one claim on the adapted model: the way of silencing with the largest drop of agreement."""
    held = [e.whole["accuracy"] for e in found.effects if e.model == "adapted" and "accuracy" in e.whole]
    if not held:
        return []
    words = [harm_verdict(effect) for effect in held]
    more = words.count("more than random")
    ways = [effects.how for effects in found.effects if effects.model == "adapted"]
    told = [
        f"{how} {interval(effect.harm, True, signed=True)} (random sets {points(effect.others_mean)} on average, "
        f"rank p {p_value(effect.rank_p)})"
        for how, effect in zip(ways, held, strict=True)
    ]
    word = "more than random" if more == len(held) else "no more than random"
    if not more and set(words) == {"no detectable harm"}:
        word = "no detectable harm"
    end = (
        "more than random sets of heads do, in every way of silencing"
        if more == len(held)
        else f"more than random sets of heads do in {more} of {len(held)} ways of silencing"
        if more
        else "no more than random sets of heads do: that the model needs these heads is not shown"
    )
    return [
        Claim(
            f"Without {listing([head.name for head in found.heads])} the adapted model’s agreement accuracy drops by "
            f"points: {'; '.join(told)}; n = {count(found.pairs)} pairs. That is {end}.",
            word,
            "probe/knockout.json: models.adapted",
            "These heads silenced",
        )
    ]


def _shown(probe: Probe) -> list[Finding]:
    """What reads the grammar comes first, surest first; then what changed most."""
    found = probe.findings
    reading = [f for f in found if (f.adapted.knowing if probe.knowers else reads(f.adapted))]
    reading.sort(key=lambda f: (not certain_of(f.adapted), -(f.adapted.over_offset.value or 0)))
    changed = [f for f in found if f not in reading and head_verdict(f) in ("better", "worse", "moved")]
    changed.sort(key=lambda f: -abs(f.adapted.change.value or 0))
    shown = reading[:3] or changed[:1] if probe.knowers else [*reading, *changed][:3]
    return shown or sorted(found, key=lambda f: -(f.adapted.accuracy.value or 0))[:1]


def _head_claim(finding: Finding) -> Claim:
    base, adapted = finding.base, finding.adapted
    return Claim(
        f"The adapted model’s best head {adapted.name} finds the right word in "
        f"{interval(adapted.accuracy, True)} of n = {count(finding.n)} arcs (fixed offset "
        f"{percent(finding.baseline)}, lead {interval(adapted.over_offset, True, signed=True)} points); "
        f"adapted minus base for this same head "
        f"{interval(adapted.change, True, signed=True)} points. "
        f"The base’s own best head is {base.name}, {interval(base.accuracy, True)}"
        + (
            ""
            if base.name == adapted.name
            else f", which changed by {interval(base.change, True, signed=True)}"
        )
        + ".",
        head_verdict(finding),
        adapted.where,
        finding.title,
    )
