"""A judge compares what base and adapted wrote, every pair in both orders; where the order decides it is a tie.

Answers are kept verbatim under a digest of the exact question. A run that was killed, and a replay of an earlier
run's verdicts.jsonl, ask the endpoint for nothing that is there.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anukul import languages, progress
from anukul.config import GenerationSettings, JudgeSettings, resolve
from anukul.digests import digest
from anukul.endpoint import Reply, read_reply
from anukul.errors import UserError
from anukul.evaluate.judge.client import WHERE, Client, check_client
from anukul.evaluate.judge.prompt import Question, ask_again, messages, parse
from anukul.items.rows import read_jsonl
from anukul.languages import Language
from anukul.records import Generation

ASKS = 3  # how often a question is put before it counts as "no verdict"
BYTES_PER_TOKEN = 3  # a Devanagari letter is 3 bytes, and rarely more than one token: an estimate from above
ORDERS = ("base_first", "adapted_first")
Messages = list[dict[str, str]]


@dataclass(slots=True)
class Duel:
    """One pair of texts, and for each order the model that each criterion prefers; None where no verdict came."""

    prompt_id: str
    length: str
    mode: str
    seed: int
    prompt: str
    base: str
    adapted: str
    votes: list[dict[str, str] | None] = field(default_factory=list)  # base | adapted | tie

    @property
    def identical(self) -> bool:
        """Whether there is nothing to choose between."""
        return self.base.strip() == self.adapted.strip()

    def question(self, order: str) -> Question:
        """The pair as the judge sees it in one order."""
        pair = (self.base, self.adapted) if order == "base_first" else (self.adapted, self.base)
        return Question(self.prompt, *pair)


@dataclass(slots=True)
class Judged:
    """What came of the judging: the duels, the lines of verdicts.jsonl, and what was spent on them."""

    duels: list[Duel]
    lines: list[dict[str, Any]]
    input_tokens: int = 0
    output_tokens: int = 0
    counted: bool = True  # False where the endpoint did not count its tokens and they are estimates


def duels_of(rows: Sequence[Generation], modes: Sequence[str]) -> list[Duel]:
    """Pair the texts of base and adapted, in the order of the base's rows."""
    adapted = {(row.mode, row.seed, row.prompt_id): row for row in rows if row.model == "adapted"}
    return [
        Duel(
            row.prompt_id,
            row.length,
            row.mode,
            row.seed,
            row.prompt,
            row.text,
            adapted[row.mode, row.seed, row.prompt_id].text,
        )
        for row in rows
        if row.model == "base" and row.mode in modes
    ]


def check_judge(settings: JudgeSettings) -> None:
    """Raise UserError where verdicts can come from nowhere, before any text is made."""
    if settings.replay is None:
        check_client(settings)
    elif not resolve(settings.replay).is_file():
        raise UserError(f"{WHERE}.replay: {settings.replay}: no such file")


def judge(rows: Sequence[Generation], settings: JudgeSettings, language: str, folder: Path) -> Judged:
    """Have every pair judged in both orders; answers are kept in folder/cache/verdicts.jsonl as they come.

    Raises UserError where it would cost more than `max_cost_usd`, where the endpoint does not answer, or where a
    replay does not hold an answer.
    """
    duels = duels_of(rows, settings.modes)
    target = languages.load(language)
    answers = Answers(settings, folder)
    judged = Judged(duels, [])
    asked = [duel for duel in duels if not duel.identical]
    if settings.replay is None:
        _tell_cost(asked, settings, target, answers)
    with ExitStack() as stack:
        bar = stack.enter_context(progress.bar("judge", len(asked), "pairs"))
        answers.stack = stack
        for duel in duels:
            if duel.identical:
                continue
            duel.votes = [_vote(duel, order, settings, target, answers, judged) for order in ORDERS]
            bar.advance(1)
    return judged


def _vote(
    duel: Duel, order: str, settings: JudgeSettings, language: Language, answers: "Answers", judged: Judged
) -> dict[str, str] | None:
    """Put one question until it is answered, `ASKS` times at most; name models where the judge named places."""
    question = duel.question(order)
    asked = messages(question, settings.criteria, language)
    seats = ("base", "adapted") if order == "base_first" else ("adapted", "base")
    for attempt in range(ASKS):
        head = {"prompt_id": duel.prompt_id, "mode": duel.mode, "seed": duel.seed, "order": order}
        line = answers.get({**head, "attempt": attempt}, asked)
        reply = read_reply(line["response"])
        if reply is None:
            raise UserError(f"{answers.source(line['key'])}: the answer of key {line['key']} cannot be read")
        _count(judged, asked, reply)
        judged.lines.append(line)
        verdict = parse(reply.text, question.mark, settings.criteria)
        if verdict is not None:
            return {
                name: {"first": seats[0], "second": seats[1]}.get(v, "tie") for name, v in verdict.items()
            }
        asked = ask_again(asked, reply.text, question, settings.criteria)
    return None


def _count(judged: Judged, asked: Messages, reply: Reply) -> None:
    used = _tokens(asked, reply)
    judged.input_tokens += used[0]
    judged.output_tokens += used[1]
    judged.counted &= reply.input_tokens is not None and reply.output_tokens is not None


def _tokens(asked: Messages, reply: Reply) -> tuple[int, int]:
    """Tokens in and out, as the endpoint counts them, else as estimated."""
    estimate = estimate_tokens([text["content"] for text in asked])
    return (
        estimate if reply.input_tokens is None else reply.input_tokens,
        estimate_tokens([reply.text]) if reply.output_tokens is None else reply.output_tokens,
    )


def estimate_tokens(texts: Sequence[str]) -> int:
    """Estimate tokens from above, without the judge's tokenizer."""
    return sum(len(text.encode("utf-8")) // BYTES_PER_TOKEN + 8 for text in texts)


def price(settings: JudgeSettings, input_tokens: float, output_tokens: float) -> float:
    """Return US dollars."""
    rates = settings.usd_per_million_input, settings.usd_per_million_output
    return (input_tokens * rates[0] + output_tokens * rates[1]) / 1e6


def _tell_cost(
    duels: Sequence[Duel], settings: JudgeSettings, language: Language, answers: "Answers"
) -> None:
    """Print what the requests still to be made will cost; raise UserError where that is over `max_cost_usd`."""
    wanted = [
        asked
        for duel in duels
        for order in ORDERS
        if not answers.holds(asked := messages(duel.question(order), settings.criteria, language))
    ]
    tokens = sum(estimate_tokens([text["content"] for text in asked]) for asked in wanted)
    out = len(wanted) * settings.max_output_tokens
    cost = price(settings, tokens, out)
    held = 2 * len(duels) - len(wanted)
    spent = answers.spent()
    progress.say(
        f"  judge: {len(wanted):,} requests to {settings.model} at {settings.base_url}"
        + (f" ({held:,} answered before for about {spent:.2f} USD)" if held else "")
        + f", about {tokens:,} tokens in and at most {out:,} out: about {cost:.2f} USD if every answer is as long as "
        "allowed; a question put again costs extra"
    )
    if settings.max_cost_usd is not None and spent + cost > settings.max_cost_usd:
        raise UserError(
            f"{WHERE}.max_cost_usd: the judge would cost about {spent + cost:.2f} USD in all, more than the "
            f"{settings.max_cost_usd:g} allowed; raise it, or judge less: lower generation.limit or judge.modes"
        )


def expected_cost(
    settings: GenerationSettings, beginnings: Sequence[str], language: str
) -> tuple[int, float]:
    """Estimate (requests, US dollars) before any text is made, each as long as allowed; (0, 0) where none is asked."""
    if settings.judge is None or settings.judge.replay is not None:
        return 0, 0.0
    kinds = {"greedy": 1, "sampled": len(settings.seeds)}
    texts = sum(kinds[mode] for mode in settings.judge.modes)
    target = languages.load(language)
    each = [
        estimate_tokens(
            [text["content"] for text in messages(Question(one, "", ""), settings.judge.criteria, target)]
        )
        for one in beginnings
    ]
    requests = len(each) * texts * len(ORDERS)
    tokens = sum(each) * texts * len(ORDERS) + requests * 2 * settings.max_new_tokens
    return requests, price(settings.judge, tokens, requests * settings.judge.max_output_tokens)


class Answers:
    """Answers by question: those of a replay, or those of this run and then the endpoint's."""

    def __init__(self, settings: JudgeSettings, folder: Path) -> None:
        self.settings = settings
        self.stack = ExitStack()
        self._client: Client | None = None
        self._held: dict[str, dict[str, Any]] = {}
        self._spent = 0.0
        self._path = folder / "cache" / "verdicts.jsonl"
        if settings.replay is not None:
            self._files = [resolve(settings.replay)]
        else:  # the finished file too: a run killed after it was written must not pay again
            self._files = [folder / "verdicts.jsonl", self._path]
            _drop_torn(self._path)
        for path in self._files:
            for line in _lines(path):
                self._held[line["key"]] = line
        for line in self._held.values():
            self._pay(line)

    def _key(self, asked: Messages) -> str:
        settings = self.settings
        return digest([settings.model, settings.temperature, settings.max_output_tokens, asked])

    def holds(self, asked: Messages) -> bool:
        """Whether a question was answered before."""
        return self._key(asked) in self._held

    def spent(self) -> float:
        """US dollars spent on the answers held."""
        return self._spent

    def source(self, key: str) -> str:
        """The file that an answer is from."""
        return str(self.settings.replay or self._path) if key in self._held else self.settings.base_url

    def get(self, head: dict[str, Any], asked: Messages) -> dict[str, Any]:
        """Return the line of verdicts.jsonl for a question, asking the endpoint where it is not held."""
        key = self._key(asked)
        line = {"key": key, **head, "model": self.settings.model, "messages": asked}
        if key in self._held:
            return {**line, "response": self._held[key]["response"]}
        if self.settings.replay is not None:
            raise UserError(
                f"{WHERE}.replay: {self.settings.replay}: holds no answer for prompt '{head['prompt_id']}' "
                f"({head['mode']}, {head['order']}): the texts, the judge's model or its settings are not those that "
                "were judged; leave replay out to ask the endpoint"
            )
        if self._client is None:
            self._client = self.stack.enter_context(Client(self.settings))
        made = {**line, "response": self._client.ask(asked)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.write(dump_line(made))
            file.flush()
            os.fsync(file.fileno())
        self._held[key] = made
        self._pay(made)
        most = self.settings.max_cost_usd
        if most is not None and self._spent > most:
            raise UserError(
                f"{WHERE}.max_cost_usd: {self._spent:.2f} USD are spent, more than the {most:g} allowed; the verdicts "
                "so far are kept: raise it and run the command again to go on"
            )
        return made

    def _pay(self, line: dict[str, Any]) -> None:
        reply = read_reply(line["response"])
        if reply is not None:
            self._spent += price(self.settings, *_tokens(line["messages"], reply))


def dump_line(line: dict[str, Any]) -> bytes:
    """Return one line of verdicts.jsonl."""
    return (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8")


def _drop_torn(path: Path) -> None:
    """Cut off a last line that a crash tore."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    for number, line in read_jsonl(str(path)):
        if not isinstance(line.get("key"), str) or not isinstance(line.get("response"), str):
            raise UserError(
                f"{path}: line {number}: not a line of verdicts.jsonl: key and response are missing"
            )
        if not isinstance(line.get("messages"), list):
            raise UserError(f"{path}: line {number}: not a line of verdicts.jsonl: messages are missing")
        yield line
