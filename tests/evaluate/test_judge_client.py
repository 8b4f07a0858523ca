"""The client against a real local server: 429s, time-outs, errors, garbage, the rate limit, and the key."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from judge_server import KEY, Answer, Asked, Brain, completion, longer_wins, serving, verdict
from test_judge import THREE, run, settings

from anukul.endpoint import read_reply, retry_after
from anukul.errors import UserError
from anukul.evaluate.judge.client import Client, check_client
from anukul.evaluate.judge.compare import check_judge, dump_line

ASKED = [{"role": "system", "content": "rules"}, {"role": "user", "content": "प्रश्न"}]
GOOD = Answer(completion("ठीक"))


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)


def then_good(*bad: Answer) -> Brain:
    """A server that gives the bad answers first."""
    return lambda asked, number: bad[number] if number < len(bad) else GOOD


def ask(brain: Brain, **changes: Any) -> tuple[str, list[Asked]]:
    with serving(brain) as server, Client(settings(server.url, **changes)) as client:
        return client.ask(ASKED), server.asked


def test_an_answer_is_kept_verbatim() -> None:
    body, asked = ask(then_good())
    assert body == GOOD.body
    assert len(asked) == 1 and asked[0].body["messages"] == ASKED
    _, asked = ask(
        then_good(), temperature=None, output_limit_name="max_completion_tokens", max_output_tokens=9
    )
    assert set(asked[0].body) == {"messages", "model", "max_completion_tokens"}


@pytest.mark.parametrize(
    "bad",
    [
        Answer('{"error": {"message": "slow down"}}', 429),
        Answer('{"error": {"message": "overloaded"}}', 503),
        Answer("<html>Bad gateway</html>", 502),
        Answer("", drop=True),
        Answer("{", 200),
        Answer('{"choices": []}', 200),
        Answer('{"error": {"message": "in a 200"}}', 200),
        Answer('"text"', 200),
        Answer(completion("late"), delay=0.6),
    ],
    ids=[
        "429",
        "503",
        "html-502",
        "dropped",
        "malformed-json",
        "no-choices",
        "error-in-200",
        "string",
        "timeout",
    ],
)
def test_what_may_pass_is_tried_again(bad: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    body, asked = ask(then_good(bad, bad), timeout_seconds=0.3)
    assert body == GOOD.body and len(asked) == 3
    said = capsys.readouterr().err
    assert "(1 of 2)" in said and "(2 of 2)" in said
    with serving(lambda *_: bad) as server, Client(settings(server.url, timeout_seconds=0.3)) as client:
        with pytest.raises(UserError, match=r"after 3 tries\. The verdicts so far are kept"):
            client.ask(ASKED)
        assert len(server.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_not_tried_again(status: int) -> None:
    brain = then_good(Answer('{"error": {"message": "no such model"}}', status))
    with serving(brain) as server, Client(settings(server.url)) as client:
        with pytest.raises(UserError, match=f"HTTP {status}: no such model"):
            client.ask(ASKED)
        assert len(server.asked) == 1


def test_waits_double_and_retry_after_is_honored() -> None:
    refused = Answer("{}", 429)
    _, asked = ask(then_good(refused, refused, refused), retry_seconds=0.05, max_retries=3)
    gaps = [later.at - before.at for before, later in pairwise(asked)]
    assert gaps[0] >= 0.05 and gaps[1] >= 0.1 and gaps[2] >= 0.2 and sum(gaps) < 1.5
    _, asked = ask(then_good(Answer("{}", 429, {"Retry-After": "1"})))
    assert 1.0 <= asked[1].at - asked[0].at < 2.5
    with pytest.raises(UserError, match="asks to wait 7,200 s"):
        ask(then_good(Answer("{}", 503, {"Retry-After": "7200"})))


def test_retry_after_is_read_as_seconds_or_as_a_date() -> None:
    assert retry_after({}) == 0
    assert retry_after({"retry-after": "2.5"}) == 2.5
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < retry_after({"retry-after": then}) <= 30
    assert retry_after({"retry-after": format_datetime(datetime.now(UTC) - timedelta(days=1))}) == 0
    assert [retry_after({"retry-after": value}) for value in ("soon", "-5", "inf", "nan")] == [0, 0, 0, 0]


def test_the_rate_is_limited() -> None:
    with serving(then_good()) as server, Client(settings(server.url, requests_per_minute=600)) as client:
        started = time.monotonic()
        for _ in range(5):
            client.ask(ASKED)
        assert time.monotonic() - started >= 0.4
    # a request may be late on its way, but not all of them
    gaps = sorted(later.at - before.at for before, later in pairwise(server.asked))
    assert gaps[len(gaps) // 2] >= 0.08


def test_a_server_that_is_down_is_told() -> None:
    with serving(then_good()) as server:
        pass
    with Client(settings(server.url)) as client, pytest.raises(UserError, match="cannot be reached"):
        client.ask(ASKED)


def test_the_key_is_never_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even where an endpoint sends it back, in an error or in a verdict."""

    def leaks(asked: Asked, number: int) -> Answer:
        sent = asked.headers["authorization"]
        if number == 0:
            return Answer(f'{{"error": {{"message": "bad key {sent}"}}}}', 500)
        if number == 1:
            return Answer(completion(f"You sent {sent}, {KEY}"))
        return Answer(completion(verdict(asked, "tie")))

    with serving(leaks) as server:
        judged = run(THREE, settings(server.url), tmp_path)
        (tmp_path / "verdicts.jsonl").write_bytes(b"".join(dump_line(line) for line in judged.lines))
        # it was asked again with its own words, from which the key was gone too
        assert "You sent Bearer [key], [key]" in str(server.asked[2].body["messages"])
    written = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2 and not any(KEY in text for text in written)
    assert "bad key Bearer [key]" in (said := "".join(capfd.readouterr())) and KEY not in said

    refuses = then_good(Answer(f'{{"error": {{"message": "Incorrect API key: {KEY}"}}}}', 401))
    with serving(refuses) as server, pytest.raises(UserError) as caught:
        run(THREE, settings(server.url), tmp_path / "refused")
    assert "Incorrect API key: [key]" in str(caught.value) and KEY not in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_the_key_must_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_client(settings())
    monkeypatch.setenv("JUDGE_KEY", " ")
    with pytest.raises(UserError, match="JUDGE_KEY is not set"):
        check_judge(settings())
    check_judge(settings(api_key_env=None))
    with serving(longer_wins) as server:
        run(THREE, settings(server.url, api_key_env=None), tmp_path)
    assert server.asked[0].headers["authorization"] == "Bearer none"
    with pytest.raises(UserError, match="no such file"):
        check_judge(settings(replay=str(tmp_path / "absent.jsonl")))
    with pytest.raises(ValueError, match="plain http"):
        settings("https://user:password@example.org/v1")


def test_bodies_that_are_no_completion() -> None:
    for body in (
        "",
        "[]",
        "1",
        '{"choices": [{"message": "x"}]}',
        '{"choices": [{"message": {"content": 1}}]}',
    ):
        assert read_reply(body) is None
    found = read_reply('{"choices": [{"message": {"role": "assistant"}}], "usage": {"prompt_tokens": "7"}}')
    assert found is not None and (found.text, found.input_tokens, found.output_tokens) == ("", None, None)
