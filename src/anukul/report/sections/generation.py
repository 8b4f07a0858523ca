"""Generation: what base and adapted wrote, the measures of it, and what a judge said."""

import hashlib
import unicodedata
from collections.abc import Sequence

from anukul.records import Generation
from anukul.report.blocks import Block, Cell, Fold, Prose, Section, Table, numeric, text
from anukul.report.data import Measure, RunData
from anukul.report.format import NOTHING, count, interval, listing, p_value, percent, plural
from anukul.report.loadgeneration import GenerationData, JudgeData, JudgeRow, TextMeasure
from anukul.report.tables import domain, drawn, source, verdict_cell
from anukul.report.verdicts import verdict_of

NAMES = {
    "language": "in {language}",
    "script": "letters in its script",
    "function_words": "words that are function words",
    "repetition": "4-grams of words seen before",
    "loop": "runs into a loop",
    "ended": "ended by the model itself",
    "words": "words",
    "tokens": "tokens",
}
COUNTED = ("words", "tokens")  # everything else is a share
MODES = {"greedy": "greedy", "sampled": "sampled"}
SAMPLES_PER_LENGTH = 2
TERM = (
    "Language and script: is the text in {language}, and not in a neighbor that shares its script? Gibberish in the "
    "right letters counts as {language} here; it shows as a lack of function words (the little words such as “and” or "
    "“of”). “People” is the same measure on the beginnings themselves, which people wrote: what natural text scores. "
    "More or fewer words, tokens, function words or ended texts is neither better nor worse by itself."
)
JUDGED = (
    "A judge, {model}, saw each pair of texts twice, in both orders, without being told which model wrote which. A win "
    "counts only where both orders agree; all else is a tie, and half a win. The flip rate says how often the order "
    "changed the verdict: near 50 % and above, the judge is guessing. A model that judges a language with little text "
    "is weak evidence; read the samples too."
)


def section(data: RunData) -> Section | None:
    """Return what was generated; None where nothing was."""
    found = data.generation
    if found is None:
        return None
    language = data.language(data.config.language)
    lead = (
        f"Base and adapted model went on from the same {plural(found.prompts or 0, 'beginning')} of texts on everyday "
        f"topics in {language}, by at most {plural(found.max_new_tokens or 0, 'token')}."
    )
    blocks: list[Block] = [Prose(TERM.format(language=language), "term")]
    for mode in [mode for mode in MODES if any(row.mode == mode for row in found.rows)]:
        rows = [row for row in found.rows if row.mode == mode]
        whole = [row for row in rows if row.length == "all"]
        parts = [row for row in rows if row.length != "all"]
        blocks.append(measures_table(_title(found, mode), whole, data))
        if parts:
            blocks.append(
                Fold(
                    f"By the length of the beginning, {mode}",
                    (measures_table("Short, medium and long beginnings", parts, data),),
                )
            )
    blocks.append(Prose(_identified(found)))
    if found.judge is not None:
        blocks += _judge_blocks(found.judge, data)
    blocks += _samples(found, data)
    return Section("generation", "Generation", lead, tuple(blocks))


def _title(found: GenerationData, mode: str) -> str:
    if mode == "greedy":
        return "Greedy: always the likeliest token"
    return f"Sampled: temperature {found.temperature or 0:g}, top-p {found.top_p or 0:g}"


def measures_table(caption: str, rows: Sequence[TextMeasure], data: RunData) -> Table:
    """Return base, adapted and their difference for each measure, beside what people's text scores."""
    language = data.language(data.config.language)
    shares = domain([row.difference for row in rows if row.name not in COUNTED])
    counts = domain([row.difference for row in rows if row.name in COUNTED])
    cells = []
    for row in rows:
        share = row.name not in COUNTED
        word = _word(row)
        shown = interval(row.difference, share, signed=True)
        name = NAMES.get(row.name, row.name).format(language=language)
        cells.append(
            (
                text(name, f"{row.where}.measure", "" if row.length == "all" else f"{row.length} beginnings"),
                numeric(
                    count(row.n),
                    f"{row.where}.n",
                    "" if row.n == row.prompts else f"of {plural(row.prompts or 0, 'beginning')}",
                ),
                numeric(percent(row.written) if share else NOTHING, f"{row.where}.written"),
                numeric(interval(row.base, share), f"{row.where}.base"),
                numeric(interval(row.adapted, share), f"{row.where}.adapted"),
                drawn(
                    shown,
                    f"{row.where}.difference",
                    row.difference,
                    shares if share else counts,
                    word,
                    "points" if share else row.name,
                ),
                verdict_cell(word, f"{row.where}.difference"),
                numeric(p_value(row.q), f"{row.where}.q"),
            )
        )
    head = ("What", "n", "People", "Base", "Adapted", "Adapted − base", "Verdict", "q")
    return Table(caption, head, tuple(cells), source("generation", data, "evaluate/scores.json: generation"))


def _word(row: TextMeasure) -> str:
    if row.better:
        return verdict_of(row.difference, row.better == "lower")
    word = verdict_of(row.difference)
    return {"better": "higher", "worse": "lower"}.get(word, word)


def _identified(found: GenerationData) -> str:
    said = [
        f"{model}: {listing([f'{name} {texts:,}' for name, texts in counts.items()])}"
        for model, counts in found.identified.items()
    ]
    return f"All texts, by the language they look like: {'; '.join(said)}."


def _judge_blocks(judge: JudgeData, data: RunData) -> list[Block]:
    blocks: list[Block] = [Prose(JUDGED.format(model=judge.model), "term")]
    for mode in [mode for mode in MODES if any(row.mode == mode for row in judge.rows)]:
        rows = [row for row in judge.rows if row.mode == mode]
        whole = [row for row in rows if row.length == "all"]
        blocks.append(judge_table(f"The judge on {mode} texts", whole, data))
        parts = [row for row in rows if row.length != "all" and row.criterion == "overall"]
        if parts:
            blocks.append(
                Fold(
                    f"The judge by the length of the beginning, {mode}",
                    (judge_table("Short, medium and long beginnings", parts, data),),
                )
            )
    silent = max((row.no_verdict or 0 for row in judge.rows), default=0)
    told = [f"{plural(judge.pairs or 0, 'pair')}, {plural(judge.answers or 0, 'answer')}"]
    if judge.identical:
        told.append(f"{judge.identical:,} with the same text twice, which are ties without a question")
    if silent:
        told.append(f"{silent:,} without a verdict in at least one order, which count as ties")
    if judge.first_place.value is not None:
        share = interval(judge.first_place, True)
        told.append(
            f"of single verdicts with a winner {share} went to the text shown first (50 % is no bias)"
        )
    if judge.usd is not None:
        told.append(f"about {judge.usd:.2f} USD")
    blocks.append(
        Prose(f"{'; '.join(told)}. Every answer stands verbatim in evaluate/verdicts.jsonl.", "note")
    )
    return blocks


def judge_table(caption: str, rows: Sequence[JudgeRow], data: RunData) -> Table:
    """Return wins, ties, losses, win rate and flip rate for each criterion."""
    over = {row.where: _over_half(row.win_rate) for row in rows}
    axis = domain(list(over.values()))
    cells = []
    for row in rows:
        word = verdict_of(over[row.where])
        shown = interval(row.win_rate, True)
        cells.append(
            (
                text(
                    row.criterion,
                    f"{row.where}.criterion",
                    "" if row.length == "all" else f"{row.length} beginnings",
                ),
                numeric(count(row.n), f"{row.where}.n"),
                numeric(count(row.wins), f"{row.where}.wins"),
                numeric(count(row.ties), f"{row.where}.ties"),
                numeric(count(row.losses), f"{row.where}.losses"),
                drawn(shown, f"{row.where}.win_rate", over[row.where], axis, word, "line: 50 %"),
                numeric(
                    interval(row.flip_rate, True),
                    f"{row.where}.flip_rate",
                    f"n = {count(row.both_orders)}" if row.both_orders else "",
                ),
                verdict_cell(word, f"{row.where}.win_rate"),
                numeric(p_value(row.q), f"{row.where}.q"),
            )
        )
    head = (
        "Criterion",
        "n",
        "Adapted wins",
        "Ties",
        "Base wins",
        "Win rate of adapted",
        "Flip rate",
        "Verdict",
        "q",
    )
    return Table(caption, head, tuple(cells), source("judge", data, "evaluate/scores.json: generation.judge"))


def _over_half(rate: Measure) -> Measure:
    return Measure(*(None if end is None else end - 0.5 for end in (rate.value, rate.low, rate.high)))


def _samples(found: GenerationData, data: RunData) -> list[Block]:
    """Return folds of texts side by side, the prompts drawn by the run's seed from every length."""
    blocks: list[Block] = []
    for mode in MODES:
        base = [row for row in found.texts if row.model == "base" and row.mode == mode]
        if not base:
            continue
        first = min(row.seed for row in base)
        rows = drawn_rows([row for row in base if row.seed == first], data.config.seed)
        adapted = {
            row.prompt_id: row
            for row in found.texts
            if row.model == "adapted" and row.mode == mode and row.seed == first
        }
        cells = [
            (
                Cell(
                    readable(row.prompt),
                    "sample",
                    f"evaluate/generations.parquet: {row.prompt_id}",
                    note=row.topic,
                ),
                _sample(row),
                _sample(adapted[row.prompt_id]),
            )
            for row in rows
        ]
        seed = "" if mode == "greedy" else f", seed {first}"
        table = Table(
            f"{plural(len(rows), 'beginning')} drawn by the run's seed, not chosen{seed}",
            ("Beginning", "Base", "Adapted"),
            tuple(cells),
            "evaluate/generations.parquet, which holds every text",
        )
        blocks.append(Fold(f"What they wrote, {mode}, side by side", (table,)))
    return blocks


def drawn_rows(rows: Sequence[Generation], seed: int) -> list[Generation]:
    """Return a few rows of each length, in the order of the file; which ones follows from the seed."""

    def shuffled(row: Generation) -> str:
        return hashlib.sha256(f"{seed}\t{row.prompt_id}".encode()).hexdigest()

    kept: set[str] = set()
    for length in {row.length for row in rows}:
        part = sorted((row for row in rows if row.length == length), key=shuffled)
        kept |= {row.prompt_id for row in part[:SAMPLES_PER_LENGTH]}
    return [row for row in rows if row.prompt_id in kept]


def _sample(row: Generation) -> Cell:
    how = "ended by itself" if row.end == "ended" else "cut"
    note = f"{plural(row.tokens, 'token')}, {how}" + (", in a loop" if row.loop else "")
    where = f"evaluate/generations.parquet: {row.prompt_id}, {row.model}"
    return Cell(readable(row.text) or "(nothing)", "sample", where, note=note)


def readable(written: str) -> str:
    """Return a text with its control characters, which HTML may not hold, as the replacement character."""
    return "".join(
        "\ufffd" if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t" else letter
        for letter in written.strip()
    )
