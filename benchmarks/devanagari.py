"""Generated Devanagari with known duplicates: what corpus_vs_datatrove.py works on.

    python benchmarks/devanagari.py FOLDER [--megabytes 5] [--seed 0]

FOLDER gets part-0.jsonl to part-7.jsonl (id, text) and truth.jsonl (id, kind, of, similarity). Words are the language's
function words and random stems with its endings, drawn by Zipf's law, so that unrelated documents share hardly any run
of five words. Of 1,000 documents 340 have one copy each:

    exact        80   the danda spaced, every second one without its joiners
    near-0.95    40   words replaced at even distances, so that the Jaccard similarity of 5-grams is as named;
    … near-0.75  40   also .90, .85, .80
    apart-0.50   20   the same, and too different to be called copies; also .40, .30

and the others are unique (210), mojibake of unique ones (30), Hindi (30), English (10), a few lines repeated (20), or
a few words short (20).
"""

import argparse
import json
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from anukul.languages import load

PARTS = 8
WORDS = 240  # of a document: about 4 KB
KINDS = {
    "exact": (80, 1.0),
    "near-0.95": (40, 0.95),
    "near-0.90": (40, 0.90),
    "near-0.85": (40, 0.85),
    "near-0.80": (40, 0.80),
    "near-0.75": (40, 0.75),
    "apart-0.50": (20, 0.50),
    "apart-0.40": (20, 0.40),
    "apart-0.30": (20, 0.30),
}
OTHERS = {"unique": 210, "mojibake": 30, "hindi": 30, "english": 10, "repeated": 20, "short": 20}
ENDINGS = {
    "npi_Deva": ["", "", "को", "मा", "ले", "लाई", "हरू", "बाट", "का", "हरूको", "सँग", "देखि"],
    "hin_Deva": ["", "", "ों", "ें", "ियों", "ता", "ते", "ती", "ना", "ने"],
    "eng_Latn": ["", "", "s", "ed", "ing", "ly", "er"],
}
FREQUENT = {
    "npi_Deva": ["र", "छ", "थियो", "हो", "एक", "पनि", "मा", "थिए", "यो"]
}  # as in real text, every tenth word
CONSONANTS = "कखगघचछजझटडतथदधनपफबभमयरलवशसह"
VOWELS = ["", "", "ा", "ि", "ी", "ु", "े", "ो", "ं", "्र", "्य"]
JOINED = "र्\u200dय"  # keeps its joiner


@dataclass(frozen=True, slots=True)
class Written:
    """A document: its words, and what stands after each of them."""

    words: list[str]
    after: list[str]

    def text(self) -> str:
        """The words with what stands after them."""
        return "".join(word + end for word, end in zip(self.words, self.after, strict=True)).strip()


class Writer:
    """Documents of one language."""

    def __init__(self, code: str, rng: random.Random) -> None:
        self.rng = rng
        self.function = sorted(word for word in load(code).function_words if len(word) > 1)
        self.frequent = FREQUENT.get(code, self.function)
        stems = [self._stem(code) for _ in range(20_000)]
        self.content = [stem + ending for stem in stems for ending in rng.sample(ENDINGS[code], 2)]
        rng.shuffle(self.content)
        self.weights = list(accumulate(1 / (rank + 20) for rank in range(len(self.content))))
        self.ender = "." if code == "eng_Latn" else "।"

    def _stem(self, code: str) -> str:
        rng = self.rng
        if code == "eng_Latn":
            return "".join(rng.choice("bcdfglmnprst") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))
        stem = "".join(rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(1, 3)))
        return stem + (JOINED + "ो" if rng.random() < 0.03 else "")

    def word(self) -> str:
        """Return a word as often as Zipf's law says."""
        drawn = self.rng.random()
        if drawn < 0.4:
            return self.rng.choice(self.frequent if drawn < 0.1 else self.function)
        return self.content[bisect(self.weights, self.rng.random() * self.weights[-1])]

    def write(self, size: int) -> Written:
        """Return a document of `size` words in sentences and paragraphs."""
        words = [self.word() for _ in range(size)]
        after = [" "] * size
        place = sentences = 0
        while place < size:
            place = min(size, place + self.rng.randint(8, 18))
            sentences += 1
            after[place - 1] = self.ender + ("\n" if sentences % 5 == 0 else " ")
        return Written(words, after)


def changed(document: Written, similarity: float, writer: Writer) -> Written:
    """Return a copy with words replaced at even distances: each costs five shingles of both sides."""
    shingles = len(document.words) - 4
    edits = round(shingles * (1 - similarity) / (5 * (1 + similarity)))
    words = list(document.words)
    for edit in range(edits):
        place = 4 + edit * (len(words) - 8) // edits
        words[place] = words[place] + writer.word()
    return Written(words, document.after)


def documents(count: int, seed: int) -> Iterator[tuple[str, str, str, float]]:
    """Yield (kind, text, text it is a copy of or "", similarity) for about `count` documents."""
    rng = random.Random(seed)
    nepali = Writer("npi_Deva", rng)
    hindi, english = Writer("hin_Deva", rng), Writer("eng_Latn", rng)
    scale = count / 1000
    for kind, (number, similarity) in KINDS.items():
        for index in range(round(number * scale)):
            original = nepali.write(rng.randint(WORDS // 2, WORDS * 3 // 2))
            text = original.text()
            yield "original", text, "", 0.0
            if kind == "exact":
                copy = text.replace("।", " ।")
                yield kind, copy.replace("\u200d", "") if index % 2 else copy, text, 1.0
            else:
                yield kind, changed(original, similarity, nepali).text(), text, similarity
    for kind, number in OTHERS.items():
        for _ in range(round(number * scale)):
            writer = {"hindi": hindi, "english": english}.get(kind, nepali)
            size = (
                6
                if kind == "short"
                else 40
                if kind == "repeated"
                else rng.randint(WORDS // 2, WORDS * 3 // 2)
            )
            text = writer.write(size).text()
            if kind == "repeated":
                text = "\n".join([text.replace("\n", " ")] * 6)
            yield kind, text, "", 0.0


def broken(text: str) -> str:
    """Return UTF-8 read as Windows-1252, the undefined bytes as the controls that they are in Latin-1."""
    held = text.encode("utf-8")
    return "".join(
        bytes([byte]).decode("cp1252") if byte not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(byte)
        for byte in held
    )


def generate(folder: Path, megabytes: float, seed: int = 0) -> int:
    """Write the documents in random order, and the truth about them; return how many bytes of text there are."""
    folder.mkdir(parents=True, exist_ok=True)
    count = round(megabytes * 1e6 / 4360)  # bytes of a document, mojibake counted as it is
    made = list(documents(count, seed))
    order = list(range(len(made)))
    random.Random(seed + 1).shuffle(order)
    name = {made[place][1]: f"d{number:07d}" for number, place in enumerate(order) if not made[place][2]}
    size = 0
    files = [(folder / f"part-{part}.jsonl").open("w", encoding="utf-8") for part in range(PARTS)]
    with (folder / "truth.jsonl").open("w", encoding="utf-8") as truth:
        for number, place in enumerate(order):
            kind, text, of, similarity = made[place]
            row = {"id": f"d{number:07d}", "kind": kind, "of": name.get(of, ""), "similarity": similarity}
            if kind == "mojibake":
                row["repaired"] = text
            truth.write(json.dumps(row, ensure_ascii=False) + "\n")
            held = broken(text) if kind == "mojibake" else text
            size += len(held.encode("utf-8"))
            line = json.dumps({"id": row["id"], "text": held}, ensure_ascii=False)
            files[number * PARTS // len(order)].write(line + "\n")
    for file in files:
        file.close()
    return size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"{generate(asked.folder, asked.megabytes, asked.seed) / 1e6:.2f} MB in {asked.folder}")
