"""Translation by an endpoint that half answers, answers too late, or costs money, against a real server."""

import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from judge_server import KEY, Answer, Asked, Brain, completion, serving
from test_endpoint import ENGLISH, NEPALI, echo, settings, translate
from test_synth_step import LOOSE, make_config, write_corpus

from anukul.errors import UserError
from anukul.synth import step
from anukul.synth.translate import Translation, Use, make_translator, nobody
from anukul.synth.translate.paid import Paid

ONE = (700 * 2.5 + 50 * 10.0) / 1e6  # US dollars that an answer of the server costs


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MT_KEY", KEY)


HALVES = {
    "no choice": Answer('{"choices": []}'),
    "empty choice": Answer('{"choices": [{}]}'),
    "half of it": Answer(completion("पूरा")[:-20]),
    "nothing": Answer(""),
    "too late": Answer(completion("late"), delay=1.5),
    "429": Answer('{"error": {"message": "slow"}}', 429, {"retry-after": "0.01"}),
}


@pytest.mark.parametrize("bad", HALVES.values(), ids=HALVES)
def test_what_never_becomes_whole_is_asked_again_and_then_costs_its_own_row(bad: Answer) -> None:
    made, asked = translate(lambda one, n: bad if n == 0 else echo(one, n), ["पहिलो"])
    assert made[0].text == "<पहिलो>" and len(asked) == 2
    texts = ["पहिलो", "खराब", "तेस्रो"]
    made, asked = translate(lambda one, n: bad if "खराब" in one.last else echo(one, n), texts)
    assert [one.rule for one in made] == ["", "translation_failed", ""]
    assert len(asked) == 2 + 3 and "after 3 tries" in made[1].detail


def test_an_endpoint_that_asks_for_hours_is_left_for_another_day() -> None:
    late = Answer("{}", 429, {"retry-after": "7200"})
    with pytest.raises(UserError, match=r"it asks to wait 7,200 s\. The shards so far are kept"):
        translate(lambda *_: late, ["पहिलो"])


def test_a_body_that_breaks_off_is_asked_for_again() -> None:
    """Half of what was announced, then the connection is closed."""
    whole = completion("पूरा").encode()
    asked: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            asked.append(1)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(whole)))
            self.end_headers()
            self.wfile.write(whole if len(asked) > 1 else whole[: len(whole) // 2])

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        (made,) = make_translator(settings(url), NEPALI, ENGLISH, 0).translate(["पाठ"])
        server.shutdown()
        thread.join()
    assert made.text == "पूरा" and len(asked) == 2


def paying(brain: Brain, paid: Path, texts: list[str], **more: Any) -> tuple[list[Translation], int]:
    """Translate, as a run of its own; return the translations and how often was asked."""
    with serving(brain) as server:
        use = Use("synth.instructions.3.translate", paid)
        translator = make_translator(settings(server.url, **more), NEPALI, ENGLISH, 0, nobody, use)
        try:
            return translator.translate(texts), len(server.asked)
        except UserError as error:
            raise UserError(f"{error} ({len(server.asked)} asked)") from None


def test_what_may_be_spent_is_counted_over_runs(tmp_path: Path) -> None:
    texts = [f"पाठ {i}" for i in range(8)]
    limited = {"concurrent": 1, "max_cost_usd": 5.5 * ONE}
    made, asked = paying(echo, tmp_path, texts[:3], **limited)
    assert asked == 3 and all(one.ended for one in made)
    stopped = (
        r"^synth\.instructions\.3\.translate\.endpoint\.max_cost_usd: 0\.0135 USD are spent, 0\.012375 may be"
    )
    with pytest.raises(UserError, match=rf"{stopped}.*\(3 asked\)"):  # three were paid for by the run before
        paying(echo, tmp_path, texts, **limited)
    with pytest.raises(UserError, match=rf"{stopped}.*\(0 asked\)"):
        paying(echo, tmp_path, texts, **limited)
    assert paying(echo, tmp_path, texts, concurrent=1, max_cost_usd=99 * ONE)[1] == 8
    # cheaper than was believed: tokens are what counts
    free = {"usd_per_million_input": 0.0, "usd_per_million_output": 0.0, "max_cost_usd": 0.001}
    assert paying(echo, tmp_path, texts[:1], **free)[1] == 1


def test_workers_count_what_the_others_pay(tmp_path: Path) -> None:
    first, second = Paid(tmp_path), Paid(tmp_path)
    first.add(700, 50)
    second.add(7, 5)
    assert first.tokens() == second.tokens() == (707, 55)
    first.add(3, 2)
    assert first.tokens() == second.tokens() == Paid(tmp_path).tokens() == (710, 57)
    for file in tmp_path.iterdir():  # what a kill or a full disk cut short is no answer
        file.write_text(file.read_text() + "99")
    assert Paid(tmp_path).tokens() == (710, 57)
    alone = Paid(None)
    alone.add(1, 2)
    assert alone.tokens() == (1, 2)


def test_an_endpoint_that_counts_no_tokens_is_not_free(tmp_path: Path) -> None:
    def uncounted(asked: Asked, number: int) -> Answer:
        return Answer(completion("x" * 300, usage=False))

    with pytest.raises(UserError, match=r"max_cost_usd.*\(2 asked\)"):  # 101 tokens, and some of the prompt
        paying(uncounted, tmp_path, ["पाठ"] * 8, concurrent=1, max_cost_usd=0.002)


def test_a_run_that_was_stopped_in_a_shard_has_paid_for_it(tmp_path: Path) -> None:
    """The shard is lost with the run, what it cost is not, and the next run stays within what may be spent."""

    def ate(asked: Asked, number: int) -> Answer:
        return Answer(completion(f"Ram ate rice {asked.last.rstrip('।')[-1]}."))

    with serving(ate) as server:
        asked = settings(server.url, concurrent=1, max_cost_usd=4.5 * ONE)
        asked = asked.model_copy(update={"shard_rows": 3})
        write_corpus(tmp_path, [f"रामले भात खायो {i}।" for i in range(6)])
        for _ in range(2):
            with pytest.raises(UserError, match=r"synth\.translate\.endpoint\.max_cost_usd"):
                step.run(make_config(translate=asked, **LOOSE), tmp_path)
            assert len(server.asked) == 5
        assert asked.endpoint is not None
        more = asked.endpoint.model_copy(update={"max_cost_usd": 1.0})
        config = make_config(translate=asked.model_copy(update={"endpoint": more}), **LOOSE)
        step.run(config, tmp_path)
        assert len(server.asked) == 8  # the shard that was stopped, again
    assert not (tmp_path / "synth" / "parts").exists()
