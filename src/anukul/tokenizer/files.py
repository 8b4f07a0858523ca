"""Write more pieces into the files of a tokenizer: tokenizer.json, and tokenizer.model where there is one.

The files are edited as data and never written by the library again: what is not added keeps its bytes' meaning.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import regex

from anukul.errors import UserError
from anukul.tokenizer.grow import Growth

JSON, SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
BYTE = regex.compile(r"<0x([0-9A-F]{2})>")
BONUS = 1e-3  # nats by which one piece beats its two parts in a unigram model
UNUSED = 5  # a sentencepiece piece that is never produced
# The split of GPT-2, built into the pre-tokenizer ByteLevel of the tokenizers library.
GPT2_SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """Return the content of tokenizer.json; raise UserError where there is none or its model cannot be extended."""
    path = folder / JSON
    if not path.exists():
        raise UserError(
            f"{folder}: no {JSON} here; more pieces need one. Save it with transformers' fast tokenizer first"
        )
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    kind = data["model"].get("type")
    if kind not in ("BPE", "Unigram"):
        raise UserError(f"{path}: a {kind} model; only BPE and Unigram (sentencepiece) can take more pieces")
    return data


def is_byte_level(data: Mapping[str, Any]) -> bool:
    """Whether the pieces are written in the alphabet of bytes (GPT-2, Llama 3, Qwen), not in characters."""
    return any(part.get("type") == "ByteLevel" for part in _parts(data.get("decoder"))) or any(
        part.get("type") == "ByteLevel" for part in _parts(data.get("pre_tokenizer"))
    )


def _parts(item: Any) -> Iterator[dict[str, Any]]:
    if isinstance(item, dict):
        yield item
        for name in ("pretokenizers", "decoders", "normalizers"):
            for part in item.get(name, ()):
                yield from _parts(part)


def split_by_words(data: dict[str, Any], script: str) -> bool:
    """Let a run of the script's letters and marks be one word to the pre-tokenizer; return whether it was changed.

    The usual patterns cut at every mark (`\\p{L}+` ends before a vowel sign), so no piece could span two letters of
    Devanagari. What is put in front of the pattern needs a letter or mark of the script: other text is cut as before.
    """
    letters = rf"[\p{{{script}}}&&[\p{{L}}\p{{M}}]]"
    body = rf"{letters}(?:{letters}|\x{{200C}}|\x{{200D}})*"
    for part in _parts(data.get("pre_tokenizer")):
        pattern = part.get("pattern", {}).get("Regex") if part.get("type") == "Split" else None
        if pattern is not None and r"\p{L}" in pattern and not part.get("invert"):
            lead = r"[^\r\n\p{L}\p{M}\p{N}]?" if r"[^\r\n\p{L}" in pattern else " ?"
            part["pattern"] = {"Regex": f"{lead}{body}|{pattern}"}
            return True
    found = data.get("pre_tokenizer") or {}
    if (
        found.get("type") == "ByteLevel"
        and found.get("use_regex", True)
        and not found.get("add_prefix_space")
    ):
        split = {
            "type": "Split",
            "pattern": {"Regex": f" ?{body}|{GPT2_SPLIT}"},
            "behavior": "Isolated",
            "invert": False,
        }
        data["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [split, {**found, "use_regex": False}],
        }
        return True
    return False


def extend_json(data: Mapping[str, Any], growth: Growth, first_id: int) -> dict[str, Any]:
    """Return the content of a tokenizer.json with the new pieces added, with ids from `first_id` on.

    The added tokens (such as BOS) go into the model's vocabulary with the ids that they have: the library numbers those
    that are not there after the model's last piece, which the new pieces would move.
    """
    model = data["model"]
    added = {item["id"]: item["content"] for item in data.get("added_tokens", ())}
    if model["type"] == "Unigram":
        rows = _extend_unigram(model["vocab"], added, growth, first_id)
        return {**data, "model": {**model, "vocab": rows}}
    taken = set(model["vocab"].values())
    holes = [number for number in range(first_id) if number not in taken]
    vocabulary = {
        **model["vocab"],
        **{added.get(number, _nothing(number)): number for number in holes},
        **{piece: first_id + index for index, piece in enumerate(growth.pieces)},
    }
    pairs = growth.merges if is_byte_level(data) else _every_split(growth, vocabulary)
    joined = bool(model["merges"]) and isinstance(model["merges"][0], str)
    merges = [*model["merges"], *(" ".join(pair) if joined else list(pair) for pair in pairs)]
    return {**data, "model": {**model, "vocab": vocabulary, "merges": merges}}


def _every_split(growth: Growth, vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """All pairs that make a new piece, as sentencepiece merges them: it knows pieces and scores, and no merges."""
    pairs = []
    for piece in growth.pieces:
        cuts = ((piece[:place], piece[place:]) for place in range(1, len(piece)))
        pairs += [pair for pair in cuts if pair[0] in vocabulary and pair[1] in vocabulary]
    return pairs


def _nothing(number: int) -> str:
    """The name of a piece that no text holds, for an id that has none."""
    return f"\ue000{number}\ue001"


def _extend_unigram(
    held: Sequence[Any], added: Mapping[int, str], growth: Growth, first_id: int
) -> list[Any]:
    """Ids are places in the list; what stands between its end and `first_id` is filled with pieces of no text."""
    rows = list(held)
    scores = {piece: float(score) for piece, score in rows}
    least = min(scores.values())
    parts = {left + right: (left, right) for left, right in reversed(growth.merges)}
    while len(rows) < first_id:
        rows.append([added.get(len(rows), _nothing(len(rows))), least])
    for piece in growth.pieces:
        left, right = parts.get(piece, ("", ""))
        joined = scores[left] + scores[right] + BONUS if left else least
        # below every old score, but not so far that what is unknown would score differently
        scores[piece] = max(least, joined)
        rows.append([piece, scores[piece]])
    return rows


def read_sentencepiece(data: bytes) -> list[tuple[str, float]]:
    """Return (piece, score) of every piece of a sentencepiece model, by id."""
    return [
        (piece, score) for number, value in _fields(data) if number == 1 for piece, score in [_piece(value)]
    ]


def extend_sentencepiece(data: bytes, growth: Growth, first_id: int, scores: Sequence[float]) -> bytes:
    """Append the new pieces to a sentencepiece model, with the scores given.

    Fields that repeat may stand anywhere in a protocol buffer (field 1, `pieces`: piece 1, score 2, type 3), so what is
    there is kept to the byte.
    """
    held = len(read_sentencepiece(data))
    made = [_message(_nothing(index), 0.0, UNUSED) for index in range(held, first_id)]
    made += [_message(piece, score, 1) for piece, score in zip(growth.pieces, scores, strict=True)]
    return data + b"".join(b"\x0a" + _varint(len(item)) + item for item in made)


def _message(piece: str, score: float, kind: int) -> bytes:
    text = piece.encode("utf-8")
    return b"\x0a" + _varint(len(text)) + text + b"\x15" + struct.pack("<f", score) + b"\x18" + _varint(kind)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (field number, raw value) of a protocol buffer message."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = data[place]
            place += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while place < len(data):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            start = place
            varint()
        else:
            size = {1: 8, 5: 4}.get(kind) or varint()
            start = place
            place += size
        yield tag >> 3, data[start:place]


def _piece(data: bytes) -> tuple[str, float]:
    values = dict(_fields(data))
    score = struct.unpack("<f", values[2])[0] if 2 in values else 0.0
    return values[1].decode("utf-8"), score
