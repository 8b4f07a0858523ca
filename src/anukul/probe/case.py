"""The case study: what every head of base and adapted does between two words of one sentence."""

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
from anukul.probe.treebank import Sentence, Word
from anukul.text.words import WORD

UNIT = regex.compile(rf"{WORD.pattern}|[^\s\p{{L}}\p{{M}}\p{{N}}\u200c\u200d]+")
Floats = NDArray[np.float64]


def find_words(case: CaseStudy) -> tuple[Sentence, int, int]:
    """Return the sentence split into words, and the numbers of the query word and the key word.

    A word that occurs several times is the first one; `word#2` asks for the second. Raises UserError that
    lists the sentence's words when one of the two is not among them.
    """
    words = tuple(Word(m.group(), m.start(), m.end(), -1, "") for m in UNIT.finditer(case.sentence))
    sentence = Sentence(0, "case study", case.sentence, words)
    query, key = (
        _find(sentence, name, wanted) for name, wanted in (("query", case.query), ("key", case.key))
    )
    if query == key:
        raise UserError(
            f"probe.case_study: query and key are the same word '{case.query}'; name two words of the "
            "sentence, `word#2` for the second of equal ones"
        )
    return sentence, query, key


def _find(sentence: Sentence, name: str, wanted: str) -> int:
    forms = [word.form for word in sentence.words]
    form, _, number = wanted.rpartition("#")
    if wanted in forms or not (form and number.isdigit()):
        form, number = wanted, "1"
    places = [index for index, word in enumerate(forms) if word == form]
    if not 1 <= int(number) <= len(places):
        raise UserError(
            f"probe.case_study.{name}: '{wanted}' is not a word of the sentence; "
            f"its words are: {' '.join(forms)}"
        )
    return places[int(number) - 1]


def study(loaded: Loaded, case: CaseStudy) -> dict[str, Any]:
    """Return case.json: words, layers x heads matrices of both models, the map of the head that changed.

    `attention` is `[layers][heads]`, the later word's attention on the earlier one (softmax as it stands);
    `share` is the same after the first token and the word itself are left out. Maps are `[words][words]`, row
    = the attending word, with `sink` `[words]` the attention on the first token.
    """
    sentence, query, key = find_words(case)
    later, earlier = max(query, key), min(query, key)  # only the later one can attend
    seen = {}
    with loaded.base_only():
        seen["base"] = _maps(loaded, sentence, later, earlier)
    seen["adapted"] = _maps(loaded, sentence, later, earlier)
    attention = {name: maps[:, :, later, earlier] for name, (maps, _) in seen.items()}
    change = attention["adapted"] - attention["base"]
    layer, head = (int(i) for i in np.unravel_index(int(np.abs(change).argmax()), change.shape))
    result: dict[str, Any] = {
        "sentence": case.sentence,
        "words": [word.form for word in sentence.words],
        "query": later,
        "key": earlier,
        "swapped": query < key,  # the word named as query is the earlier one
    }
    for name, (maps, sink) in seen.items():
        before = maps[:, :, later, :later].sum(-1)
        share = np.divide(attention[name], before, out=np.zeros_like(before), where=before > 0)
        result[name] = {
            "attention": attention[name].tolist(),
            "share": share.tolist(),
            "map": maps[layer, head].tolist(),
            "sink": sink[layer, head].tolist(),
        }
    result["head"] = {"layer": layer, "head": head, "change": float(change[layer, head])}
    return result


def _maps(loaded: Loaded, sentence: Sentence, later: int, earlier: int) -> tuple[Floats, Floats]:
    """The maps of the model in the state that it is in, by its own tokenizer."""
    aligned = align(sentence, loaded.tokenizer, loaded.prefix_id)
    _check(loaded, aligned, later, earlier)
    return _word_maps(loaded, aligned)


def _check(loaded: Loaded, aligned: Aligned, later: int, earlier: int) -> None:
    if len(aligned.ids) > loaded.max_positions:
        raise UserError(
            f"probe.case_study.sentence: {len(aligned.ids)} tokens, more than the model's "
            f"{loaded.max_positions}; give a shorter sentence"
        )
    for index in (later, earlier):
        if aligned.last[index] < 0:
            raise UserError(
                f"probe.case_study: '{aligned.sentence.words[index].form}' shares its only token with "
                "a neighbour in this tokenizer; choose another word"
            )


def _word_maps(loaded: Loaded, aligned: Aligned) -> tuple[Floats, Floats]:
    """Return `[layers, heads, words, words]` and, on the first token, `[layers, heads, words]`.

    A word without a token of its own has a row of zeros.
    """
    device = loaded.device
    layers: dict[int, tuple[Floats, Floats]] = {}
    own = aligned.last >= 0

    def receive(layer: int, start: int, words: torch.Tensor, first: torch.Tensor) -> None:
        rows, sink = words[0].double().cpu().numpy(), first[0].double().cpu().numpy()
        heads, count, width = rows.shape
        if layer not in layers:
            layers[layer] = (np.zeros((heads, len(own), len(own))), np.zeros((heads, len(own))))
        here = slice(start, start + count)
        layers[layer][0][:, here, :width] = rows * own[None, here, None]
        layers[layer][1][:, here] = sink * own[None, here]

    rows = torch.from_numpy(np.maximum(aligned.last, 0))[None].to(device)
    capture = Capture(rows, torch.from_numpy(aligned.word_of)[None].to(device), receive)
    with torch.no_grad(), loaded.autocast(), capturing(loaded, capture):
        hidden_states(loaded, torch.from_numpy(aligned.ids)[None].to(device))
    maps, sinks = zip(*(layers[layer] for layer in sorted(layers)), strict=True)
    return np.stack(maps), np.stack(sinks)
