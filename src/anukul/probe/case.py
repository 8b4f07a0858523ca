"""The case study: what every head of base and adapted does between two words of one sentence."""

import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex
import torch
from numpy.typing import NDArray

from anukul.config import CaseStudy
from anukul.errors import UserError
from anukul.model.attention import Capture, capturing
from anukul.model.loaded import Loaded, hidden_states
from anukul.probe.align import Aligned, align
from anukul.probe.heads import Head
from anukul.probe.treebank import Sentence, Word
from anukul.text.words import WORD

UNIT = regex.compile(rf"{WORD.pattern}|[^\s\p{{L}}\p{{M}}\p{{N}}\u200c\u200d]+")
Floats = NDArray[np.float64]


def find_words(case: CaseStudy, asked: bool = False) -> tuple[Sentence, int, int]:
    """Return the sentence split into words, and the numbers of the query word and the key word.

    `word#2` is the second of equal words. In the config a word that stands several times is the first one, and a query
    that stands before its key is swapped with it, both said in the report; `asked` at the command line they are faults.
    Raises UserError that lists the sentence's words when one of the two is not among them.
    """
    words = tuple(Word(m.group(), m.start(), m.end(), -1, "") for m in UNIT.finditer(case.sentence))
    sentence = Sentence(0, "case study", case.sentence, words)
    query, key = (
        _find(sentence, _name(part, asked), wanted, asked)
        for part, wanted in (("query", case.query), ("key", case.key))
    )
    if query == key:
        where = "--query and --key" if asked else "probe.case_study: query and key"
        raise UserError(
            f"{where} are the same word '{case.query}'; name two words of the "
            "sentence, `word#2` for the second of equal ones"
        )
    if asked and query < key:
        raise UserError(
            f"--query '{case.query}' stands before --key '{case.key}': a decoder sees only backwards, so that only the "
            f"later word can attend to the earlier one; swap them: --query '{case.key}' --key '{case.query}'"
        )
    return sentence, query, key


def _name(part: str, asked: bool) -> str:
    return f"--{part}" if asked else f"probe.case_study.{part}"


def _places(sentence: Sentence, wanted: str) -> tuple[list[int], int | None]:
    """Where a word stands, and which of these `#` names."""
    forms = [_composed(word.form) for word in sentence.words]
    wanted = _composed(wanted)
    form, _, number = wanted.rpartition("#")
    if wanted in forms or not (form and number.isdigit()):
        form, number = wanted, ""
    return [index for index, word in enumerate(forms) if word == form], int(number) if number else None


def _composed(text: str) -> str:
    # a letter may be typed as one code point or as two
    return unicodedata.normalize("NFC", text)


def _find(sentence: Sentence, name: str, wanted: str, asked: bool) -> int:
    places, number = _places(sentence, wanted)
    if not places or not 1 <= (1 if number is None else number) <= len(places):
        raise UserError(
            f"{name}: '{wanted}' is not a word of the sentence; "
            f"its words are: {' '.join(word.form for word in sentence.words)}"
        )
    if asked and number is None and len(places) > 1:
        which = ", ".join(f"'{wanted}#{i + 1}' (word {place + 1})" for i, place in enumerate(places))
        raise UserError(f"{name}: '{wanted}' stands {len(places)} times in the sentence; name one of {which}")
    return places[0 if number is None else number - 1]


@dataclass(frozen=True, slots=True)
class Seen:
    """One model on the sentence.

    `maps` `[layers, heads, words, words]` and `sink` `[layers, heads, words]` are read at each word's last piece;
    `mean` `[layers, heads, words]` is the later word's row averaged over its `pieces`.
    """

    maps: Floats
    sink: Floats
    mean: Floats
    pieces: int


def study(loaded: Loaded, case: CaseStudy, head: Head | None = None, asked: bool = False) -> dict[str, Any]:
    """Return case.json: words, layers x heads matrices of both models, the map of `head` or of the one that changed.

    `attention` is `[layers][heads]`, the later word's attention on the earlier one (softmax as it stands);
    `share` is the same after the first token and the word itself are left out; `mean` is `attention` averaged over
    the later word's pieces, a check. Maps are `[words][words]`, row = the attending word, with `sink` `[words]` the
    attention on the first token.
    """
    sentence, query, key = find_words(case, asked)
    later, earlier = max(query, key), min(query, key)  # only the later one can attend
    with loaded.base_only():
        base = _seen(loaded, sentence, later, earlier)
    seen = {"base": base, "adapted": _seen(loaded, sentence, later, earlier)}
    attention = {name: found.maps[:, :, later, earlier] for name, found in seen.items()}
    change = attention["adapted"] - attention["base"]
    shown = _largest(change) if head is None else _checked(head, change.shape)
    result: dict[str, Any] = {
        "sentence": case.sentence,
        "words": [word.form for word in sentence.words],
        "query": later,
        "key": earlier,
        "swapped": query < key,  # the word named as query is the earlier one
        "also": [] if asked else _also(sentence, case),
    }
    for name, found in seen.items():
        before = found.maps[:, :, later, :later].sum(-1)
        share = np.divide(attention[name], before, out=np.zeros_like(before), where=before > 0)
        result[name] = {
            "attention": attention[name].tolist(),
            "share": share.tolist(),
            "map": found.maps[shown].tolist(),
            "sink": found.sink[shown].tolist(),
            "pieces": found.pieces,
            "mean": found.mean[:, :, earlier].tolist(),
        }
    why = "changed" if head is None else "asked"
    result["head"] = {"layer": shown[0], "head": shown[1], "change": float(change[shown]), "why": why}
    result["mean"] = _by_mean(seen, earlier, shown, float(change[shown]), why)
    return result


def _largest(change: Floats) -> Head:
    layer, head = np.unravel_index(int(np.abs(change).argmax()), change.shape)
    return int(layer), int(head)


def _checked(head: Head, shape: tuple[int, ...]) -> Head:
    if not (0 <= head[0] < shape[0] and 0 <= head[1] < shape[1]):
        raise UserError(
            f"--head {head[0]}.{head[1]}: this model has layers 0 to {shape[0] - 1} of heads 0 to {shape[1] - 1}"
        )
    return head


def _also(sentence: Sentence, case: CaseStudy) -> list[str]:
    """What the config leaves open and was decided here."""
    lines = []
    for wanted in (case.query, case.key):
        places, number = _places(sentence, wanted)
        if number is None and len(places) > 1:
            lines.append(
                f"{wanted} stands {len(places)} times in the sentence; the first is meant ({wanted}#2 is the second)."
            )
    return lines


def _by_mean(seen: dict[str, Seen], earlier: int, shown: Head, change: float, why: str) -> dict[str, Any]:
    """The same with the mean over the later word's pieces: which head changes most, and whether this is the same story.

    It holds where the shown head changes in the same direction and, if it was shown for changing most, still does.
    """
    mean = seen["adapted"].mean[:, :, earlier] - seen["base"].mean[:, :, earlier]
    layer, head = _largest(mean)
    same = float(mean[shown]) * change >= 0 and (why == "asked" or (layer, head) == shown)
    return {
        "layer": layer,
        "head": head,
        "change": float(mean[layer, head]),
        "shown": float(mean[shown]),
        "holds": bool(same),
    }


def _seen(loaded: Loaded, sentence: Sentence, later: int, earlier: int) -> Seen:
    """The maps of the model in the state that it is in, by its own tokenizer."""
    aligned = align(sentence, loaded.tokenizer, loaded.prefix_id)
    _check(loaded, aligned, later, earlier)
    pieces = np.flatnonzero(aligned.word_of == later)
    tokens = np.concatenate([np.maximum(aligned.last, 0), pieces])
    rows, sink = _word_rows(loaded, aligned, tokens)
    count = len(aligned.last)
    own = aligned.last >= 0
    maps, sinks = rows[:, :, :count] * own[:, None], sink[:, :, :count] * own
    return Seen(maps, sinks, rows[:, :, count:].mean(2), len(pieces))


def _check(loaded: Loaded, aligned: Aligned, later: int, earlier: int) -> None:
    if len(aligned.ids) > loaded.max_positions:
        raise UserError(
            f"case study: the sentence has {len(aligned.ids)} tokens, more than the model's "
            f"{loaded.max_positions}; give a shorter sentence"
        )
    for index in (later, earlier):
        if aligned.last[index] < 0:
            raise UserError(
                f"case study: '{aligned.sentence.words[index].form}' shares its only token with "
                "a neighbour in this tokenizer; choose another word"
            )


def _word_rows(loaded: Loaded, aligned: Aligned, tokens: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return what `tokens` attend to, `[layers, heads, tokens, words]`, and on the first token, `[…, tokens]`."""
    device = loaded.device
    words = len(aligned.last)
    layers: dict[int, tuple[Floats, Floats]] = {}

    def receive(layer: int, start: int, found: torch.Tensor, first: torch.Tensor) -> None:
        rows, sink = found[0].double().cpu().numpy(), first[0].double().cpu().numpy()
        heads, count, width = rows.shape
        if layer not in layers:
            layers[layer] = (np.zeros((heads, len(tokens), words)), np.zeros((heads, len(tokens))))
        here = slice(start, start + count)
        layers[layer][0][:, here, :width] = rows
        layers[layer][1][:, here] = sink

    asking = torch.from_numpy(tokens)[None].to(device)
    capture = Capture(asking, torch.from_numpy(aligned.word_of)[None].to(device), receive)
    with torch.no_grad(), loaded.autocast(), capturing(loaded, capture):
        hidden_states(loaded, torch.from_numpy(aligned.ids)[None].to(device))
    maps, sinks = zip(*(layers[layer] for layer in sorted(layers)), strict=True)
    return np.stack(maps), np.stack(sinks)
