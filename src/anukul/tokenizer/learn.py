"""Learn more pieces for a tokenizer from text, and make the tokenizer that has them."""

import copy
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anukul.errors import UserError
from anukul.languages import load as load_language
from anukul.tokenizer.files import (
    BYTE,
    JSON,
    SENTENCEPIECE,
    extend_json,
    extend_sentencepiece,
    is_byte_level,
    read_sentencepiece,
    split_by_words,
)
from anukul.tokenizer.grow import Growth, Pieces, grow
from anukul.tokenizer.script import Script, bytes_of

SPACE = "▁"  # sentencepiece's mark of a word's beginning
MAX_WORDS = 500_000  # distinct words that pieces are learnt from, the most frequent ones


@dataclass(frozen=True, slots=True)
class Extension:
    """A tokenizer with more pieces, and what each new piece was before."""

    growth: Growth
    first_id: int
    data: dict[str, Any]  # the new tokenizer.json
    made_of: tuple[tuple[int, ...], ...]  # for each new piece the old tokens that its text was cut into
    whole_words: bool  # whether the pre-tokenizer was made to keep the script's words whole


def check_scripts(language: str, base_language: str) -> str:
    """Return the script of the language; raise UserError where the base language is written in it too."""
    script, base = load_language(language).script, load_language(base_language).script
    if script == base:
        raise UserError(
            f"train.vocabulary: {language} and {base_language} are both written in {script}: new pieces would change "
            "how the base language's text is cut; leave vocabulary out"
        )
    return script


class Learner:
    """The words of a text, ready to learn pieces of a script from."""

    def __init__(
        self, data: Mapping[str, Any], texts: Iterable[str], script_name: str, whole_words: bool
    ) -> None:
        """Cut texts with the tokenizer of a tokenizer.json, whose content is `data`."""
        from tokenizers import Tokenizer

        self.data = {**data, "pre_tokenizer": copy.deepcopy(data.get("pre_tokenizer"))}
        self.whole_words = whole_words and split_by_words(self.data, script_name)
        self.script = Script(script_name)
        self._tokenizer = Tokenizer.from_str(json.dumps(self.data))
        self._words = count_words(self._tokenizer, self.data, texts, self.script)
        self._vocabulary = _vocabulary(self.data)

    def extend(self, count: int, min_count: int, first_id: int) -> Extension:
        """Learn at most `count` pieces and give them ids from `first_id` on; UserError where there are none."""
        owned = self._owns_bytes if is_byte_level(self.data) else self.script.within
        growth = grow(self._words, self._vocabulary, owned, count, min_count)
        if not growth.pieces:
            raise UserError(
                f"train.vocabulary: the corpus gives no new piece of the script {self.script.name} that occurs "
                f"{min_count} times; give more text, lower vocabulary.min_count or leave vocabulary out"
            )
        old = self._tokenizer.model
        made_of = tuple(tuple(int(token.id) for token in old.tokenize(piece)) for piece in growth.pieces)
        made = extend_json(self.data, growth, first_id)
        return Extension(growth, first_id, made, made_of, self.whole_words)

    def _owns_bytes(self, piece: str) -> bool:
        return self.script.owns(bytes_of(piece) or b"")


def write_files(extension: Extension, old: Path, folder: Path) -> None:
    """Write tokenizer.json, and tokenizer.model where the old folder has one, with the new pieces."""
    text = json.dumps(extension.data, ensure_ascii=False)
    (folder / JSON).write_text(text, encoding="utf-8")
    model = old / SENTENCEPIECE
    if model.exists() and not is_byte_level(extension.data):
        held = model.read_bytes()
        scores = sentencepiece_scores(extension, held)
        (folder / SENTENCEPIECE).write_bytes(
            extend_sentencepiece(held, extension.growth, extension.first_id, scores)
        )


def sentencepiece_scores(extension: Extension, held: bytes) -> list[float]:
    """The scores of the new pieces: those of the unigram model, or for BPE one less each than all before."""
    model = extension.data["model"]
    if model["type"] == "Unigram":
        return [float(score) for _, score in model["vocab"][extension.first_id :]]
    least = min(score for _, score in read_sentencepiece(held))
    return [least - 1 - index for index in range(len(extension.growth.pieces))]


def count_words(
    tokenizer: Any, data: Mapping[str, Any], texts: Iterable[str], script: Script
) -> dict[Pieces, int]:
    """Return the words that hold the script, cut into the tokenizer's pieces, with how often each occurs."""
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    byte_level = is_byte_level(data)
    found: Counter[str] = Counter()
    for text in texts:
        normal = normalizer.normalize_str(text) if normalizer is not None else text
        parts = [part for part, _ in splitter.pre_tokenize_str(normal)] if splitter is not None else [normal]
        found.update(part for part in parts if byte_level or script.within(part))
    words: Counter[str] = Counter()
    for part, count in found.items():
        for word in [part] if byte_level else _split(part):
            if script.within((bytes_of(word) or b"").decode("utf-8", "ignore") if byte_level else word):
                words[word] += count
    kept = sorted(words.items(), key=lambda item: (-item[1], item[0]))[:MAX_WORDS]
    unknown = data["model"].get("unk_token")
    cut: Counter[Pieces] = Counter()
    for word, count in kept:
        cut[_cut(tokenizer.model.tokenize(word), word, unknown)] += count
    return dict(cut)


def _split(text: str) -> list[str]:
    """Split a normalised text before every mark of a word's beginning, as sentencepiece's trainer does."""
    first, *others = text.split(SPACE)
    return [part for part in (first, *(SPACE + other for other in others)) if part.strip(SPACE)]


def _cut(tokens: Sequence[Any], word: str, unknown: str | None) -> Pieces:
    """The pieces of a word; a character that the model spells in bytes, or does not know, is a part by itself."""
    parts: list[str] = []
    place = 0  # in the word
    for token in tokens:
        value = str(token.value)
        if word.startswith(value, place):
            parts.append(value)
            place += len(value)
        elif BYTE.fullmatch(value):
            # the first byte of a character stands for all of it
            if int(value[3:5], 16) not in range(0x80, 0xC0):
                parts.append(word[place])
                place += 1
        elif value == unknown or token.id is not None:
            end = _next_known(tokens, token, word, place)
            parts += list(word[place:end])
            place = end
    return tuple(parts)


def _next_known(tokens: Sequence[Any], token: Any, word: str, place: int) -> int:
    """Where an unknown stretch ends: at the token after it, else at the end of the word."""
    index = next(number for number, other in enumerate(tokens) if other is token)
    if index + 1 < len(tokens):
        following = word.find(str(tokens[index + 1].value), place + 1)
        if following > 0:
            return following
    return len(word)


def _vocabulary(data: Mapping[str, Any]) -> set[str]:
    held = data["model"]["vocab"]
    names = set(held) if isinstance(held, dict) else {piece for piece, _ in held}
    return names | {item["content"] for item in data.get("added_tokens", ())}
