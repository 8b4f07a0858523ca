"""The case study as a drawing: the sentence as words, attention as arcs, base above and adapted below."""

import unicodedata

from markupsafe import Markup

from anukul.report.format import percent
from anukul.report.probedata import Case, CaseModel
from anukul.report.svg import picture, tag

FAINT = 0.06  # attention below this is not drawn
LETTER = (
    11.5  # pixels of a letter at 18 px, generous: the browser shapes the text, its width is not known here
)


def columns(word: str) -> int:
    """Return how many letters of a word take room: marks such as vowel signs and joiners mostly do not."""
    return max(1, sum(unicodedata.category(letter)[0] not in "MC" for letter in word))


def arc_diagram(case: Case) -> Markup:
    """Return the drawing; every arc from the attending word to an earlier one has hover text."""
    slots = [max(46.0, columns(word) * LETTER + 22) for word in case.words]
    middles = [sum(slots[:i]) + slot / 2 for i, slot in enumerate(slots)]
    width = sum(slots)
    reach = max((abs(middles[i] - middles[j]) for i in range(len(slots)) for j in range(i)), default=60.0)
    height = min(150.0, 26 + reach * 0.32)
    line = height + 14
    parts: list[Markup] = []
    for model, name, sign in ((case.base, "base", -1), (case.adapted, "adapted", 1)):
        parts += _arcs(case, model, name, middles, line, sign, height)
    for index, word in enumerate(case.words):
        css = "word query" if index == case.query else "word key" if index == case.key else "word"
        parts.append(tag("text", {"x": middles[index], "y": line + 6, "class": css}, word))
    parts.append(tag("text", {"x": 4, "y": 14, "class": "axis start base-text"}, "base, above"))
    below = {"x": 4, "y": 2 * line - 6, "class": "axis start adapted-text"}
    parts.append(tag("text", below, "adapted, below"))
    base, adapted = (percent(_weight(model, case.query, case.key)) for model in (case.base, case.adapted))
    label = (
        f"Attention of layer {case.layer} head {case.head} in the sentence {case.sentence}: from "
        f"{case.words[case.query]} to {case.words[case.key]}, base {base}, adapted {adapted}"
    )
    return picture(width, 2 * line, label, *parts, css="arcs", limits=(width * 0.8, width * 1.3))


def _weight(model: CaseModel, query: int, key: int) -> float | None:
    rows = model.words
    return rows[query][key] if query < len(rows) and key < len(rows[query]) else None


def _arcs(
    case: Case, model: CaseModel, name: str, middles: list[float], line: float, sign: int, height: float
) -> list[Markup]:
    parts: list[Markup] = []
    near = line + sign * 14
    for query in range(len(middles)):
        for key in range(query):
            weight = _weight(model, query, key)
            if weight is None or (weight < FAINT and (query, key) != (case.query, case.key)):
                continue
            far = min(height, 26 + abs(middles[query] - middles[key]) * 0.32) - 14
            rise = (
                near + sign * far * 4 / 3
            )  # a cubic reaches three quarters of the way to its control points
            path = f"M{middles[query]:.1f} {near:.1f}C{middles[query]:.1f} {rise:.1f} {middles[key]:.1f} {rise:.1f} "
            path += f"{middles[key]:.1f} {near:.1f}"
            own = "own" if query == case.query else "other"
            asked = " asked" if (query, key) == (case.query, case.key) else ""
            tip = f"{name}: {case.words[query]} attends to {case.words[key]}\n{percent(weight)} of its attention"
            shape: dict[str, object] = {"d": path, "class": f"arc {name} {own}{asked}", "data_tip": tip}
            parts.append(tag("path", {**shape, "stroke_width": 0.8 + 7 * weight}))
    return parts
