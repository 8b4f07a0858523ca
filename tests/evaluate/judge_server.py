"""A real HTTP server that speaks OpenAI's chat protocol, with a judge behind it that is plain code."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-secret-0123456789abcdef"


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def last(self) -> str:
        """The newest message."""
        return str(self.body["messages"][-1]["content"])

    @property
    def mark(self) -> str:
        """The mark of the texts."""
        return re.findall(r"^\[BEGINNING ([0-9a-f]{16})\]$", self.texts, re.MULTILINE)[0]

    @property
    def texts(self) -> str:
        """The message that holds the texts."""
        return str(self.body["messages"][1]["content"])

    def text(self, title: str) -> str:
        """One of the texts, found by its mark."""
        start, end = f"[{title} {self.mark}]\n", f"\n[END OF {title} {self.mark}]"
        return self.texts.split(start)[1].split(end)[0]


@dataclass
class Answer:
    """What the server sends back."""

    body: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False  # close the connection without a word


@dataclass
class Server:
    """The running server: its address, and what it was asked."""

    url: str
    asked: list[Asked]


Brain = Callable[[Asked, int], Answer]


def completion(text: str | None, usage: bool = True) -> str:
    """The body of a chat completion."""
    body: dict[str, Any] = {
        "id": "c",
        "object": "chat.completion",
        "model": "judge-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
    }
    if usage:
        body["usage"] = {"prompt_tokens": 700, "completion_tokens": 50, "total_tokens": 750}
    return json.dumps(body)


def verdict(asked: Asked, choice: str | dict[str, str]) -> str:
    """The verdict that the rules ask for, the same for every criterion or one for each."""
    names = re.findall(r"^- (\w+):", asked.body["messages"][0]["content"], re.MULTILINE)
    chosen = choice if isinstance(choice, dict) else dict.fromkeys(names, choice)
    return json.dumps({"mark": asked.mark, **{name: chosen.get(name, "tie") for name in names}})


def longer_wins(asked: Asked, number: int) -> Answer:
    """A judge with an honest rule: the longer text wins, whatever stands in it."""
    first, second = len(asked.text("FIRST CONTINUATION")), len(asked.text("SECOND CONTINUATION"))
    choice = "first" if first > second else "second" if second > first else "tie"
    return Answer(completion(verdict(asked, choice)))


@contextmanager
def serving(brain: Brain) -> Iterator[Server]:
    """Serve `brain` on a free port of this machine."""
    asked: list[Asked] = []
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers["content-length"])
            body = json.loads(self.rfile.read(size))
            with lock:
                one = Asked(
                    self.path,
                    {name.lower(): value for name, value in self.headers.items()},
                    body,
                    time.monotonic(),
                )
                asked.append(one)
                number = len(asked) - 1
            answer = brain(one, number)
            time.sleep(answer.delay)
            if answer.drop:
                self.close_connection = True
                return
            data = answer.body.encode("utf-8")
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client's patience was shorter

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{server.server_address[1]}/v1", asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
