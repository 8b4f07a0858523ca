"""datatrove's side of corpus_vs_datatrove.py; runs in any Python that has it.

    pip install datatrove[processing] ftfy py3langid indic-nlp-library xxhash orjson
    python benchmarks/corpus_datatrove.py FOLDER OUTPUT [--workers 2] [--tokenizer fastest|indic|regex]

Mojibake by its ftfy formatter, language by py3langid in its filter for functions of one's own (its language filters
want a fastText model from the network), its Gopher filters with the thresholds that anukul takes from FineWeb-2's
configuration for Nepali, MinHash with 14 bands of 8 rows over 5-grams. At its best: filtering and signatures in one
pass without another read, xxhash, no compression, no stripping of marks (which would be vowel signs), and of its own
tokenizer for Nepali and a regular expression for words, which it takes too, the one that is faster on a sample.
"""

import argparse
import json
import logging
import re
import shutil
import time
from pathlib import Path

import regex
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LambdaFilter
from datatrove.pipeline.formatters import FTFYFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.hashing import HashConfig
from datatrove.utils.text import TextNormConfig
from datatrove.utils.word_tokenizers import IndicNLPTokenizer, WordTokenizer
from loguru import logger

PARTS = 8
STOP_WORDS = ["र", "छ", "थियो", "हो", "एक", "पनि", "मा", "थिए", "यो"]
WORD = regex.compile(r"[\p{L}\p{M}\p{N}\u200c\u200d]+")
SENTENCE = re.compile(r"(?<=[।?!.])\s+|\n")


class RegexTokenizer(WordTokenizer):
    """Words by Unicode property."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the words."""
        return WORD.findall(text)

    def sent_tokenize(self, text: str) -> list[str]:
        """Return the sentences."""
        return [part for part in SENTENCE.split(text) if part]

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        """Return the places of words."""
        return [match.span() for match in WORD.finditer(text)]


class Nepali:
    """The language filter, with a model in each process."""

    def __init__(self) -> None:
        self.identifier = None

    def __call__(self, document) -> bool:
        """Say whether a document stays."""
        if self.identifier is None:
            from py3langid.langid import MODEL_FILE, LanguageIdentifier

            self.identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
        return self.identifier.classify(document.text)[0] in (
            "ne",
            "mr",
        )  # it knows no better on single texts


def fastest(folder: Path) -> str:
    with (folder / "part-0.jsonl").open(encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line, _ in zip(file, range(50), strict=False)]
    times = {}
    for name, tokenizer in (("indic", IndicNLPTokenizer("ne")), ("regex", RegexTokenizer())):
        tokenizer.word_tokenize(texts[0])
        start = time.perf_counter()
        for text in texts:
            tokenizer.word_tokenize(text)
        times[name] = time.perf_counter() - start
    return min(times, key=times.get)


def run(folder: Path, output: Path, workers: int, tokenizer: str) -> dict:
    if tokenizer == "fastest":
        tokenizer = fastest(folder)
    words = IndicNLPTokenizer("ne") if tokenizer == "indic" else RegexTokenizer()
    config = MinhashConfig(
        n_grams=5,
        num_buckets=14,
        hashes_per_bucket=8,
        norm_config=TextNormConfig(norm_unicode_diacritics=False),
        hash_config=HashConfig(precision=64, hash_fc="xxhash"),
    )
    shutil.rmtree(output, ignore_errors=True)
    filtered, signatures = str(output / "filtered"), str(output / "signatures")
    buckets, removed = str(output / "buckets"), str(output / "removed")
    seconds = {}

    def stage(name, tasks, *steps):
        start = time.perf_counter()
        executor = LocalPipelineExecutor(
            pipeline=list(steps),
            tasks=tasks,
            workers=workers,
            logging_dir=str(output / "logs" / name),
            skip_completed=False,
        )
        executor.run()
        seconds[name] = time.perf_counter() - start

    stage(
        "filters and signatures",
        PARTS,
        JsonlReader(str(folder), glob_pattern="part-*.jsonl", compression=None),
        FTFYFormatter(),
        LambdaFilter(Nepali()),
        GopherRepetitionFilter(
            dup_line_frac=0.155,
            dup_para_frac=None,
            dup_line_char_frac=None,
            dup_para_char_frac=None,
            top_n_grams=((2, 0.114), (3, 0.103), (4, 0.091)),
            dup_n_grams=((5, 0.098), (6, 0.09), (7, 0.083), (8, 0.076), (9, 0.069), (10, 0.062)),
            language=words,
        ),
        GopherQualityFilter(
            min_doc_words=None,  # the language has no such threshold
            min_avg_word_length=3,
            max_avg_word_length=37,
            max_non_alpha_words_ratio=0.824,
            stop_words=STOP_WORDS,
            min_stop_words=2,
            language=words,
        ),
        JsonlWriter(filtered, compression=None),
        MinhashDedupSignature(signatures, config=config, language=words),
    )
    stage("buckets", 14, MinhashDedupBuckets(signatures, buckets, config=config))
    stage("clusters", 1, MinhashDedupCluster(buckets, removed, config=config))
    stage(
        "removal",
        PARTS,
        JsonlReader(filtered, compression=None),
        MinhashDedupFilter(removed),
        JsonlWriter(str(output / "kept"), compression=None),
    )
    return {"tokenizer": tokenizer, "seconds": seconds}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tokenizer", choices=("fastest", "indic", "regex"), default="fastest")
    asked = parser.parse_args()
    logger.remove()
    logging.disable(logging.WARNING)
    print(json.dumps(run(asked.folder, asked.output, asked.workers, asked.tokenizer)))
