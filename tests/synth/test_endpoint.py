"""Translation by an endpoint, against a real server: retries, half answers, garbage, limits, budgets and cost."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluate"))
from judge_server import KEY, Answer, Asked, Brain, completion, serving

from anukul.config import TranslateSettings
from anukul.errors import UserError
from anukul.languages import load
from anukul.synth.translate import Translation, describe, make_translator, name_of
from anukul.synth.translate.endpoint import IN_A_ROW

NEPALI, ENGLISH = load("npi_Deva"), load("eng_Latn")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MT_KEY", KEY)


def settings(url: str, **more: Any) -> TranslateSettings:
    endpoint = {"base_url": url, "api_key_env": "MT_KEY", "requests_per_minute": 60_000, "max_retries": 2}
    endpoint |= {"retry_seconds": 0.01, "timeout_seconds": 1.0, "concurrent": 2, **more}
    return TranslateSettings(engine="endpoint", model="mt-1", max_output_tokens=100, endpoint=endpoint)


def translate(brain: Brain, texts: list[str], **more: Any) -> tuple[list[Translation], list[Asked]]:
    with serving(brain) as server:
        made = make_translator(settings(server.url, **more), NEPALI, ENGLISH, 0).translate(texts)
        return made, server.asked


def echo(asked: Asked, number: int) -> Answer:
    """Answers with what stands after the prompt, told apart."""
    return Answer(completion(f"<{asked.last.rpartition(chr(10))[2]}>"))


def finished(text: str, reason: str | None) -> str:
    body = json.loads(completion(text))
    body["choices"][0]["finish_reason"] = reason
    return json.dumps(body)


def test_lines_are_asked_for_alone_and_in_order() -> None:
    texts = ["पहिलो\n\n- दोस्रो", "तेस्रो", ""]
    made, asked = translate(echo, texts)
    assert [one.text for one in made] == ["<पहिलो>\n\n- <दोस्रो>", "<तेस्रो>", ""]
    assert all(one.ended for one in made)
    assert [(one.tokens, one.input_tokens) for one in made] == [(100, 1400), (50, 700), (0, 0)]
    assert len(asked) == 3
    assert all("Nepali text into English" in one.last for one in asked)
    assert asked[0].body["max_tokens"] == 100 and asked[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "bad",
    [
        Answer('{"error": {"message": "slow"}}', 429, {"retry-after": "0.05"}),
        Answer("", 503),
        Answer("", drop=True),
        Answer('{"choices": [{"message": {"content": "half'),
        Answer(completion("late"), delay=1.5),
        Answer("<html>"),
    ],
    ids=["429", "503", "dropped", "half", "timeout", "garbage"],
)
def test_what_may_pass_is_asked_again(bad: Answer) -> None:
    made, asked = translate(lambda one, n: bad if n == 0 else echo(one, n), ["पहिलो"])
    assert made[0].text == "<पहिलो>" and len(asked) == 2
    if bad.headers:
        assert asked[1].at - asked[0].at >= 0.05


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (Answer(finished("half of", "length")), "not_ended"),
        (Answer(completion("")), "translation_failed"),
        (Answer(completion(None)), "translation_failed"),
        (Answer(finished("filtered", "content_filter")), "translation_failed"),
        (Answer(finished("half", "max_tokens")), "not_ended"),
        (Answer(finished("I look it up", "tool_calls")), "translation_failed"),
        (Answer(finished("stopped by the server", "abort")), "translation_failed"),
        (Answer(finished("nobody knows", None)), "translation_failed"),
        (Answer('{"error": {"message": "too long"}}', 400), "translation_failed"),
        (Answer("garbage"), "translation_failed"),
    ],
)
def test_an_answer_that_cannot_be_used_costs_its_own_row(answer: Answer, rule: str) -> None:
    def brain(asked: Asked, number: int) -> Answer:
        return answer if "खराब" in asked.last else echo(asked, number)

    made, _ = translate(brain, ["पहिलो", "खराब", "तेस्रो"])
    assert [one.rule for one in made] == ["", rule, ""]
    assert made[1].detail and not made[1].ended and KEY not in made[1].detail


def test_servers_have_several_words_for_the_end() -> None:
    words = ["stop", "eos_token", "end_turn"]
    made, _ = translate(lambda one, n: Answer(finished("whole", words[n])), ["पहिलो"] * 3, concurrent=1)
    assert all(one.ended and one.text == "whole" for one in made)


def test_what_is_not_about_a_row_stops_the_step() -> None:
    with pytest.raises(UserError, match=r"synth\.translate\.endpoint: http.*HTTP 401"):
        translate(lambda *_: Answer('{"error": {"message": "no such key"}}', 401), ["पहिलो"])
    with pytest.raises(UserError, match=f"{IN_A_ROW} requests in a row failed"):
        translate(lambda *_: Answer("", 500), ["पहिलो"] * 20, max_retries=0)
    with pytest.raises(UserError, match=r"max_cost_usd: 0\.0045 USD are spent"):
        translate(echo, ["पहिलो"] * 5, max_cost_usd=0.004)


def test_what_is_recorded_names_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = settings("http://127.0.0.1:1/v1")
    told = describe(asked, 0)
    assert told["id"] == name_of(asked) == f"mt-1@{told['fingerprint'][:8]}"
    assert told["base_url"] == "http://127.0.0.1:1/v1" and "{text}" in told["prompt"]
    assert KEY not in json.dumps(told)
    monkeypatch.delenv("MT_KEY")
    with pytest.raises(UserError, match=r"synth\.translate\.endpoint\.api_key_env: MT_KEY is not set"):
        make_translator(asked, NEPALI, ENGLISH, 0)


@pytest.mark.parametrize("prompt", ["no text", "{text} {x}", "{text} {"])
def test_a_prompt_holds_the_text(prompt: str) -> None:
    with pytest.raises(ValueError, match=r"prompt (must hold|may hold)"):
        settings("http://127.0.0.1:1/v1", prompt=prompt)
