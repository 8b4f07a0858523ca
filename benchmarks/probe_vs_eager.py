"""Probing heads on a treebank: anukul's capture against whole eager attention maps, same arcs, same run.

    ANUKUL_REAL_DATA=FOLDER python benchmarks/probe_vs_eager.py [--sentences 1000] [--long 12]

Hindi-PUD on a random Llama of 58 M parameters in fp32, its sentences and texts of about 1,024 tokens put together from
them. Four engines, each in a process of its own: `script`, what is usually written (the causal LM as it is loaded for
an adapter, one text at a time, `output_attentions=True`, numpy arc by arc), `headless`, the same without the logits
that nobody looks at, `vectorised`, the decoder in batches of like length and without a loop over arcs, as fast as it
could be written, and anukul's. Tokenising and aligning count in every time. Printed: ratios of time and of memory
beyond the model's, how far the scores of heads are from each other, and anukul's time at a quarter, a half and all of
the sentences.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anukul.probe.observe import Prepared, observe
from anukul.probe.prepare import batches_of, prepare
from anukul.probe.treebank import Sentence, read_treebank
from memory import peak_mib, resident_mib, restart_peak
from models import llama_58m

PIECES = 8_000  # of the tokenizer: words of the treebank are cut about as real ones are
LONG = 1024
PEERS = ("script", "headless", "vectorised")
MIN_ARCS = 20  # of a relation in one direction whose scores are compared


@dataclass(slots=True)
class Found:
    """What an engine saw: `[arcs, layers, heads]`, arcs in the order of the texts."""

    correct: NDArray[np.bool_]
    mass: NDArray[np.float32]


def treebank() -> Path:
    real = os.environ.get("ANUKUL_REAL_DATA")
    if not real:
        raise SystemExit("set ANUKUL_REAL_DATA to the folder that holds treebank/hi_pud-ud-test.conllu")
    return Path(real) / "treebank" / "hi_pud-ud-test.conllu"


def make_model(folder: Path) -> None:
    """The random Llama and a tokenizer of the treebank's own text."""
    from anukul.model.build import save_base, train_tokenizer

    tokenizer = train_tokenizer([sentence.text for sentence in read_treebank(treebank())], PIECES, 2048)
    save_base(llama_58m(), tokenizer, folder / "base")


def texts(options: argparse.Namespace, tokenizer: Any) -> list[Sentence]:
    """The sentences, or texts of about `LONG` tokens made of them."""
    if options.data == "sentences":
        return read_treebank(treebank(), options.count)
    made: list[Sentence] = []
    held: list[Sentence] = []
    size = 1
    for sentence in read_treebank(treebank()):
        tokens = len(tokenizer(" " + sentence.text, add_special_tokens=False)["input_ids"])
        if size + tokens > LONG:
            made.append(joined(held, len(made)))
            held, size = [], 1
            if len(made) == options.count:
                break
        held.append(sentence)
        size += tokens
    return made


def joined(sentences: Sequence[Sentence], index: int) -> Sentence:
    """One text of several trees."""
    words: list[Any] = []
    text = ""
    for sentence in sentences:
        before, place = len(words), len(text)
        words += [
            replace(
                word,
                start=word.start + place,
                end=word.end + place,
                head=-1 if word.head < 0 else word.head + before,
            )
            for word in sentence.words
        ]
        text += sentence.text + " "
    return Sentence(index, f"text {index}", text.rstrip(), tuple(words))


def gathered(
    items: Sequence[Prepared],
    size: int,
    run: Callable[[list[Prepared]], tuple[NDArray[np.bool_], NDArray[np.float32]]],
) -> Found:
    """Run every batch and put what was seen in the order of the texts."""
    starts = np.cumsum([0, *(len(item.arcs) for item in items)])
    parts, places = [], []
    for batch in batches_of(items, size):
        parts.append(run([items[number] for number in batch]))
        places += [np.arange(starts[number], starts[number + 1]) for number in batch]
    back = np.argsort(np.concatenate(places))
    correct, mass = (np.concatenate(column)[back] for column in zip(*parts, strict=True))
    return Found(correct, mass)


def script(model: Any, items: Sequence[Prepared]) -> Found:
    """What is usually written."""
    correct, mass = [], []
    for item in items:
        aligned = item.aligned
        with torch.no_grad():
            output = model(torch.from_numpy(aligned.ids)[None], output_attentions=True, use_cache=False)
        maps = np.stack([layer[0].numpy() for layer in output.attentions])  # [layers, heads, length, length]
        count = len(aligned.sentence.words)
        words = np.stack([maps[..., aligned.word_of == word].sum(-1) for word in range(count)], -1)
        for arc in item.arcs:
            row = words[:, :, aligned.last[arc.query], : arc.query]
            correct.append(row.argmax(-1) == arc.key)
            mass.append(row[..., arc.key] / row.sum(-1))
    return Found(np.stack(correct), np.stack(mass))


class Vectorised:
    """The same for batches, with tensors only; words are summed in whichever way is faster on the first batch."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.ways = ["product", "scatter"]
        self.margin = False  # in place of the mass, by how much of itself the highest word exceeds the next

    @torch.inference_mode()
    def run(self, batch: list[Prepared]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """What was found and the mass on it, `[arcs of the batch, layers, heads]`."""
        length = max(len(item.aligned.ids) for item in batch)
        count = max(len(item.aligned.sentence.words) for item in batch)
        ids = np.zeros((len(batch), length), np.int64)
        # tokens of no word go to a column of their own
        word_of = np.full((len(batch), length), count, np.int64)
        queries = [sorted({arc.query for arc in item.arcs}) for item in batch]
        rows = np.zeros((len(batch), max(map(len, queries))), np.int64)
        row_word = np.zeros_like(rows)
        arcs = []
        for place, (item, words) in enumerate(zip(batch, queries, strict=True)):
            aligned = item.aligned
            ids[place, : len(aligned.ids)] = aligned.ids
            word_of[place, : len(aligned.ids)] = np.where(aligned.word_of < 0, count, aligned.word_of)
            rows[place, : len(words)] = aligned.last[words]
            row_word[place, : len(words)] = words
            row_of = {word: row for row, word in enumerate(words)}
            arcs += [(place, row_of[arc.query], arc.key) for arc in item.arcs]
        output = self.model(torch.from_numpy(ids), output_attentions=True, use_cache=False)
        sentence, row, key = torch.tensor(arcs).unbind(1)
        owner = torch.from_numpy(word_of)
        later = torch.arange(count) >= torch.from_numpy(row_word).unsqueeze(-1)
        index = torch.from_numpy(rows)[:, None, :, None].expand(-1, output.attentions[0].shape[1], -1, length)
        correct, mass = [], []
        for maps in output.attentions:
            words = self._words(maps.gather(2, index), owner, count).masked_fill_(later[:, None], 0.0)
            correct.append(words.argmax(-1)[sentence, :, row] == key[:, None])
            if self.margin:
                highest = words.topk(2).values[sentence, :, row]
                mass.append(1 - highest[..., 1] / highest[..., 0])
            else:
                mass.append(words[sentence, :, row, key] / words.sum(-1)[sentence, :, row])
        return torch.stack(correct, 1).numpy(), torch.stack(mass, 1).numpy()

    def _words(self, rows: Tensor, owner: Tensor, count: int) -> Tensor:
        times = {}
        for way in self.ways:
            started = time.perf_counter()
            if way == "product":
                belongs = (owner.unsqueeze(-1) == torch.arange(count)).float()
                words = rows @ belongs[:, None]
            else:
                into = rows.new_zeros(*rows.shape[:3], count + 1)
                words = into.scatter_add_(3, owner[:, None, None].expand_as(rows), rows)[..., :count]
            times[way] = time.perf_counter() - started
        self.ways = [min(times, key=lambda way: times[way])]
        return words


def run_engine(options: argparse.Namespace, folder: Path) -> None:
    """Probe with one engine; print one line of JSON, and save what it saw."""
    from anukul.config import ModelSettings
    from anukul.model.base import load_base

    loaded = load_base(ModelSettings(path=str(folder / "base"), quantization="none", compute_dtype="float32"))
    if options.engine != "anukul":
        loaded.causal_lm.set_attn_implementation("eager")
    decoder = loaded.causal_lm.get_decoder()
    size = options.batch if options.data == "sentences" else 1
    vectorised = Vectorised(decoder)

    def ours(batch: list[Prepared]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        seen = observe(loaded, batch)
        return seen.correct, seen.mass

    engines: dict[str, Callable[[list[Prepared]], Found]] = {
        "script": lambda items: script(loaded.causal_lm, items),
        "headless": lambda items: script(decoder, items),
        "vectorised": lambda items: gathered(items, size, vectorised.run),
        "anukul": lambda items: gathered(items, size, ours),
    }
    engine = engines[options.engine]
    sentences = texts(options, loaded.tokenizer)
    # whatever is made at the first call
    engine(prepare(read_treebank(treebank(), 1), loaded, ()).items)
    vectorised.ways = ["product", "scatter"]
    before = resident_mib()
    restart_peak()
    started, used = time.perf_counter(), time.process_time()
    items = prepare(sentences, loaded, ()).items
    aligned = time.perf_counter()
    found = engine(items)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    extra = peak_mib() - before
    relation = [f"{arc.relation}/{arc.direction}" for item in items for arc in item.arcs]
    arrays = {"correct": found.correct, "mass": found.mass, "relation": np.array(relation)}
    if options.engine == "vectorised":
        vectorised.margin = True
        arrays["margin"] = engine(items).mass
    np.savez(folder / f"{options.engine}-{options.data}.npz", **arrays)
    report = {
        "engine": options.engine,
        "data": options.data,
        "texts": len(items),
        "tokens": sum(len(item.aligned.ids) for item in items),
        "arcs": len(found.correct),
        "seconds": seconds,
        "processor_seconds": used,  # of all cores: other work on the machine changes it less
        "aligning": aligned - started,
        "extra_mib": extra,
    }
    print(json.dumps(report), flush=True)


def scores(seen: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy and mean mass of every head on every frequent relation, `[relations, layers, heads]`."""
    names, counts = np.unique(seen["relation"], return_counts=True)
    groups = [seen["relation"] == name for name in names[counts >= MIN_ARCS]]
    return (
        np.stack([seen["correct"][group].mean(0, dtype=np.float64) for group in groups]),
        np.stack([seen["mass"][group].mean(0, dtype=np.float64) for group in groups]),
    )


def compare(folder: Path, data: str, peer: str) -> str:
    """How far anukul's scores of heads are from a peer's."""
    ours, theirs = (dict(np.load(folder / f"{engine}-{data}.npz")) for engine in ("anukul", peer))
    (accuracy, mass), (their_accuracy, their_mass) = scores(ours), scores(theirs)
    other = ours["correct"] != theirs["correct"]
    text = (
        f"  scores of {mass[0].size} heads on {len(mass)} relations against {peer}: mean mass within "
        f"{np.abs(mass - their_mass).max():.1e}, accuracy within {np.abs(accuracy - their_accuracy).max():.1e}; "
        f"{other.sum():,} of {other.size:,} arg-maxes differ"
    )
    if other.any() and "margin" in theirs:
        text += f", where the highest word exceeds the next by at most {theirs['margin'][other].max():.1e} of itself"
    return text


def start(options: argparse.Namespace, folder: Path, engine: str, data: str, count: int) -> dict[str, Any]:
    """Run an engine in a process of its own and return its report."""
    command = [sys.executable, __file__, "--batch", str(options.batch)]
    command += ["--engine", engine, "--data", data, "--count", str(count), "--folder", str(folder)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    print(output, flush=True)
    report: dict[str, Any] = json.loads(output)
    return report


def main() -> None:
    """Run all engines and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=1000)
    parser.add_argument("--long", type=int, default=12, help=f"texts of about {LONG} tokens")
    parser.add_argument("--batch", type=int, default=32, help="sentences in a batch")
    parser.add_argument("--engine", choices=("anukul", *PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--data", choices=("sentences", "long"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.engine:
        run_engine(options, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder)
        for data, count in (("sentences", options.sentences), ("long", options.long)):
            reports = {engine: start(options, folder, engine, data, count) for engine in ("anukul", *PEERS)}
            ours = reports["anukul"]
            print(f"{data}: {ours['texts']:,} texts, {ours['tokens']:,} tokens, {ours['arcs']:,} arcs")
            for peer in PEERS:
                theirs = reports[peer]
                print(
                    f"  {peer}: time {theirs['seconds']:.1f} s / {ours['seconds']:.1f} s = "
                    f"{theirs['seconds'] / ours['seconds']:.2f}x (processor time "
                    f"{theirs['processor_seconds'] / ours['processor_seconds']:.2f}x); memory beyond the model's "
                    f"{theirs['extra_mib']:.0f} MiB / {ours['extra_mib']:.0f} MiB = "
                    f"{theirs['extra_mib'] / max(1, ours['extra_mib']):.1f}x"
                )
                print(compare(folder, data, peer), flush=True)
        counts = [options.sentences // 4, options.sentences // 2, options.sentences]
        grown = [start(options, folder, "anukul", "sentences", count) for count in counts]
    for report in grown:
        print(
            f"{report['texts']:,} sentences: {report['seconds']:.2f} s, "
            f"{1000 * report['seconds'] / report['texts']:.2f} ms a sentence, "
            f"{1e6 * report['seconds'] / report['tokens']:.0f} µs a token"
        )


if __name__ == "__main__":
    main()
