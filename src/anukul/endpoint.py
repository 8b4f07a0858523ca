"""Ask an endpoint that speaks OpenAI's chat protocol: retries with backoff, a rate limit, and a key that stays here.

Every use names itself: `Asker` says where run.yaml has the endpoint, who is asking, and what a stop leaves standing.
"""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from anukul import progress
from anukul.config import EndpointSettings
from anukul.errors import UserError

if TYPE_CHECKING:
    from openai import APIStatusError

RETRIED = {408, 409, 425, 429}  # and everything from 500 up
LONGEST_WAIT = 3600.0  # seconds; an endpoint that asks for more is left for another day
HIDDEN = "[key]"
SHORTEST_KEY = 8  # characters; less is a placeholder such as "none", which may stand in any text


class EndpointError(UserError):
    """An endpoint did not give an answer; `status` is that of its refusal, 0 where it never answered usably."""

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, in messages to the user."""

    where: str  # the key of run.yaml that names the endpoint
    name: str  # before a line about a retry
    kept: str  # what was paid for and is not lost when this stops
    extra: str = "judge"  # of the package, that brings the client along


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer's body says; tokens are None where the endpoint does not count them."""

    text: str
    input_tokens: int | None
    output_tokens: int | None
    finish: str = ""  # the endpoint's reason for the end: stop, length, content_filter …


def read_reply(body: str) -> Reply | None:
    """Read the body of an answer; None where it is not a chat completion."""
    try:
        data = json.loads(body)
        choice = data["choices"][0]
        message = choice["message"]
        finish = choice.get("finish_reason")
        text = message.get("content")
        usage = data.get("usage") or {}
        counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
        return None
    if text is not None and not isinstance(text, str):
        return None
    whole = [count if isinstance(count, int) and not isinstance(count, bool) else None for count in counts]
    # half a surrogate pair is valid in JSON, and cannot be sent or written again
    whole_text = (text or "").encode("utf-8", "replace").decode("utf-8")
    return Reply(whole_text, whole[0], whole[1], finish if isinstance(finish, str) else "")


def check_client(settings: EndpointSettings, asker: Asker) -> None:
    """Raise UserError where the endpoint cannot be asked: no client installed, or no key in the environment."""
    try:
        import openai  # noqa: F401  only whether it is there
    except ImportError:
        raise UserError(
            f"{asker.where} needs the openai client: pip install 'anukul[{asker.extra}]'"
        ) from None
    _key(settings, asker)


def _key(settings: EndpointSettings, asker: Asker) -> str:
    if settings.api_key_env is None:
        return "none"
    key = os.environ.get(settings.api_key_env, "")
    if not key.strip():
        raise UserError(
            f"{asker.where}.api_key_env: {settings.api_key_env} is not set; export {settings.api_key_env}=… before the "
            "command, or set api_key_env: null for an endpoint that wants no key"
        )
    return key.strip()


class Client:
    """One endpoint; used as a context manager, so that its connections are closed. Threads may share it."""

    def __init__(self, settings: EndpointSettings, asker: Asker, model: str, max_output_tokens: int) -> None:
        from openai import OpenAI

        self.settings = settings
        self.asker = asker
        self.model = model
        self.max_output_tokens = max_output_tokens
        self._secret = _key(settings, asker)
        # retries are made here, where they are told, counted and bounded
        self._client = OpenAI(
            api_key=self._secret,
            base_url=settings.base_url,
            timeout=settings.timeout_seconds,
            max_retries=0,
        )
        self._next_turn = 0.0
        self._turns = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def ask(self, messages: list[dict[str, str]]) -> str:
        """Return the verbatim body of a chat completion, the key blotted out should it stand there.

        Raises EndpointError where the endpoint refuses, or does not answer in `max_retries` more tries.
        """
        wait = self.settings.retry_seconds
        for attempt in range(self.settings.max_retries + 1):
            self._take_turn()
            body, fault, asked_wait = self._try(messages)
            if body is not None:
                return body
            if attempt == self.settings.max_retries:
                break
            pause = max(wait, asked_wait)
            if pause > LONGEST_WAIT:
                raise EndpointError(
                    f"{self.asker.where}: {self.settings.base_url}: {fault}; it asks to wait {pause:,.0f} s. "
                    f"{self.asker.kept}: run the command again then",
                    429,
                )
            progress.say(
                f"  {self.asker.name}: {fault}; again in {pause:.1f} s ({attempt + 1} of {self.settings.max_retries})"
            )
            time.sleep(pause)
            wait *= 2
        raise EndpointError(
            f"{self.asker.where}: {self.settings.base_url}: {fault}, after {self.settings.max_retries + 1} tries. "
            f"{self.asker.kept}: run the command again to go on",
            0,
        )

    def _take_turn(self) -> None:
        """Wait so that requests start at most `requests_per_minute` times a minute."""
        with self._turns:
            now = time.monotonic()
            turn = max(now, self._next_turn)
            self._next_turn = turn + 60 / self.settings.requests_per_minute
        if turn > now:
            time.sleep(turn - now)

    def _try(self, messages: list[dict[str, str]]) -> tuple[str | None, str, float]:
        """Return (body, "", 0), or (None, what went wrong, seconds the endpoint asks to wait)."""
        import openai

        settings = self.settings
        more: dict[str, Any] = {settings.output_limit_name: self.max_output_tokens}
        if settings.temperature is not None:
            more["temperature"] = settings.temperature
        try:
            answer = self._client.chat.completions.with_raw_response.create(
                model=self.model,
                messages=messages,  # type: ignore[arg-type]  # plain dicts of role and content are its TypedDicts
                **more,
            )
        except openai.APITimeoutError:
            return None, f"no answer in {settings.timeout_seconds:g} s", 0.0
        except openai.APIStatusError as error:
            status = error.status_code
            fault = f"HTTP {status}: {_reason(error, self._hide)}"
            if status not in RETRIED and status < 500:
                raise EndpointError(f"{self.asker.where}: {settings.base_url}: {fault}", status) from None
            return None, fault, retry_after(error.response.headers)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            return None, self._hide(f"cannot be reached ({type(cause).__name__}: {cause})"), 0.0
        body = self._hide(answer.http_response.text)
        if read_reply(body) is None:
            return None, "its answer is not a chat completion", 0.0
        return body, "", 0.0

    def _hide(self, text: str) -> str:
        if len(self._secret) < SHORTEST_KEY:
            return text
        for form in (self._secret, json.dumps(self._secret)[1:-1], self._secret.replace("/", "\\/")):
            text = text.replace(form, HIDDEN)
        return text


def _reason(error: "APIStatusError", hide: Callable[[str], str]) -> str:
    """Return the first 200 characters of an endpoint's own words on one line, what must not be shown hidden first."""
    body: Any = error.body
    message = body.get("message") if isinstance(body, dict) else None
    text = " ".join(hide(str(message or error.response.text or error.response.reason_phrase)).split())
    return text if len(text) <= 200 else f"{text[:199]}…"


def retry_after(headers: Any) -> float:
    """Return the seconds that a Retry-After header asks to wait, given as seconds or as a date; 0 without one."""
    value = headers.get("retry-after")
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        then = then if then.tzinfo else then.replace(tzinfo=UTC)
        seconds = (then - datetime.now(UTC)).total_seconds()
    return seconds if 0 < seconds < float("inf") else 0.0
