"""A tokenizer in the keys of GGUF: byte-level BPE as llama.cpp's kind `gpt2`, sentencepiece BPE as its kind `llama`.

Everything is read from tokenizer.json, so that a tokenizer with added pieces needs no tokenizer.model that knows them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex

from anukul.errors import UserError

BYTE = regex.compile(r"<0x[0-9A-F]{2}>")
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE_TOKEN = 1, 2, 3, 4, 5, 6  # gguf.TokenType
CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
# How llama.cpp cuts text before merging, by the name that a file gives in tokenizer.ggml.pre (src/llama-vocab.cpp).
# "llama-bpe" takes a word that is in the vocabulary without merging; the others merge.
SPLITS = {
    "llama-bpe": rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{END}",
    "qwen2": rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{END}",
    "qwen35": (
        rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{END}"
    ),
    "gpt-2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
}
IGNORES_MERGES = {"llama-bpe"}


@dataclass(frozen=True, slots=True)
class GgufTokenizer:
    """What the file says of the tokenizer."""

    model: str  # gpt2 | llama
    pre: str
    tokens: list[str]
    types: list[int]
    scores: list[float] | None
    merges: list[str] | None
    adds_bos: bool
    adds_eos: bool
    space_prefix: bool
    notes: list[str]


def convert(folder: Path, rows: int, texts: Sequence[str]) -> GgufTokenizer:
    """Convert tokenizer.json of a model with `rows` embedding rows; `texts` decide where a split has no name.

    Raises UserError for a kind of tokenizer that GGUF has no keys for.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.exists():
        raise UserError(f"{path}: no such file; a GGUF file holds the tokenizer, which is read from there")
    data = json.loads(path.read_text(encoding="utf-8"))
    kind = data["model"].get("type")
    if kind != "BPE":
        raise UserError(
            f"{path}: a {kind} tokenizer; only byte-level BPE and sentencepiece BPE are written to GGUF"
        )
    tokenizer = Tokenizer.from_file(str(path))
    if _parts(data.get("pre_tokenizer"), "ByteLevel") or _parts(data.get("decoder"), "ByteLevel"):
        return _byte_level(data, tokenizer, rows, texts, path)
    if data["model"].get("byte_fallback"):
        return _sentencepiece(data, tokenizer, rows)
    raise UserError(
        f"{path}: BPE that is neither byte-level nor with byte fallback, which llama.cpp does not read"
    )


def _byte_level(
    data: dict[str, Any], tokenizer: Any, rows: int, texts: Sequence[str], path: Path
) -> GgufTokenizer:
    if data.get("normalizer"):
        raise UserError(
            f"{path}: its normalizer ({data['normalizer']['type']}) has no place in GGUF with byte-level BPE"
        )
    pre, notes = _split_name(data, tokenizer, texts, path)
    tokens, types = _tokens(data, rows)
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in data["model"]["merges"]]
    bos, eos = _ends(data)
    return GgufTokenizer("gpt2", pre, tokens, types, None, merges, bos, eos, False, notes)


def _sentencepiece(data: dict[str, Any], tokenizer: Any, rows: int) -> GgufTokenizer:
    """llama.cpp joins the neighbours whose joint piece scores highest: minus the rank of its first merge."""
    tokens, types = _tokens(data, rows)
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(data["model"]["merges"]):
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        ranks.setdefault(left + right, rank)
    never = -float(len(data["model"]["merges"]) + len(tokens))
    scores, lost = [], 0
    for token, kind in zip(tokens, types, strict=True):
        joined = kind == NORMAL and len(token) > 1
        lost += joined and token not in ranks
        scores.append(-float(ranks.get(token, -never)) if joined else 0.0 if kind == NORMAL else never)
    notes = [f"{lost} pieces have no merge and come last"] if lost else []
    bos, eos = _ends(data)
    return GgufTokenizer(
        "llama", "default", tokens, types, scores, None, bos, eos, _space_prefix(data), notes
    )


def _tokens(data: dict[str, Any], rows: int) -> tuple[list[str], list[int]]:
    """Every embedding row's token and its type; rows without a token are named and marked as unused."""
    by_id = {number: token for token, number in data["model"]["vocab"].items()}
    added = {item["id"]: item for item in data.get("added_tokens", ())}
    unknown = data["model"].get("unk_token")
    tokens, types = [], []
    for number in range(rows):
        if number in added:
            tokens.append(str(added[number]["content"]))
            special = UNKNOWN if tokens[-1] == unknown else CONTROL
            types.append(special if added[number]["special"] else USER_DEFINED)
        elif number in by_id:
            tokens.append(by_id[number])
            fallback = bool(data["model"].get("byte_fallback")) and BYTE.fullmatch(tokens[-1])
            types.append(UNKNOWN if tokens[-1] == unknown else BYTE_TOKEN if fallback else NORMAL)
        else:
            tokens.append(f"[PAD{number}]")
            types.append(UNUSED)
    return tokens, types


def _split_name(
    data: dict[str, Any], tokenizer: Any, texts: Sequence[str], path: Path
) -> tuple[str, list[str]]:
    """The name that llama.cpp has for this split: of the same pattern, else of one that cuts all texts alike."""
    patterns = [
        item["pattern"].get("Regex") for item in _parts(data["pre_tokenizer"], "Split") if "pattern" in item
    ]
    level = _parts(data["pre_tokenizer"], "ByteLevel")[0]
    if level.get("add_prefix_space"):
        raise UserError(
            f"{path}: it puts a space before the text, which llama.cpp does not with byte-level BPE"
        )
    if level.get("use_regex", True) and not patterns:
        patterns = [SPLITS["gpt-2"]]
    ignores = bool(data["model"].get("ignore_merges"))
    for name, pattern in SPLITS.items():
        if patterns == [pattern] and (name in IGNORES_MERGES) == ignores:
            return name, []
    expected = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    best, agreeing = "", -1
    for name in SPLITS:
        other = _with_split(data, name)
        agree = sum(
            other.encode(text, add_special_tokens=False).ids == ids
            for text, ids in zip(texts, expected, strict=True)
        )
        if agree > agreeing:
            best, agreeing = name, agree
    if agreeing < len(texts):
        raise UserError(
            f"{path}: llama.cpp knows no way of cutting text into words that is this tokenizer's; the nearest of those "
            f"tried, {best}, agrees on {agreeing} of {len(texts)} texts. Use the merged model instead"
        )
    note = (
        f"llama.cpp has no name for this tokenizer's way of cutting text into words; '{best}' gives the same tokens "
        f"on all {len(texts)} texts tried, and may differ on others"
    )
    return best, [note]


def _with_split(data: dict[str, Any], name: str) -> Any:
    """The tokenizer as llama.cpp would run it under this name."""
    from tokenizers import Tokenizer

    parts = [
        {"type": "Split", "pattern": {"Regex": SPLITS[name]}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
    ]
    changed = {**data, "pre_tokenizer": {"type": "Sequence", "pretokenizers": parts}}
    changed["model"] = {**data["model"], "ignore_merges": name in IGNORES_MERGES}
    return Tokenizer.from_str(json.dumps(changed))


def _parts(item: Any, kind: str) -> list[dict[str, Any]]:
    """The parts of this kind in a pre-tokenizer, normalizer, decoder or post-processor."""
    if not isinstance(item, dict):
        return []
    found = [item] if item.get("type") == kind else []
    for name in ("pretokenizers", "normalizers", "decoders", "processors"):
        for part in item.get(name, ()):
            found += _parts(part, kind)
    return found


def _ends(data: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a token is put before and after a text by the post-processor."""
    for item in _parts(data.get("post_processor"), "TemplateProcessing"):
        single = item.get("single", [])
        where = next((place for place, part in enumerate(single) if "Sequence" in part), 0)
        return where > 0, where < len(single) - 1
    return False, False


def _space_prefix(data: dict[str, Any]) -> bool:
    """Whether a space stands before the text."""
    if _parts(data.get("normalizer"), "Prepend"):
        return True
    return any(
        item.get("prepend_scheme", "always") != "never"
        for item in _parts(data.get("pre_tokenizer"), "Metaspace")
    )
