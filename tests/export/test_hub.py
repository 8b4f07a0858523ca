"""The hub: nothing is sent without --push; with it, what was shown is what is sent, and the token stays secret."""

import base64
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anukul import exports
from anukul.config import RunConfig
from anukul.errors import UserError
from anukul.export import hub
from anukul.export.card import split_front
from anukul.pipeline import run_steps

Trained = tuple[RunConfig, Path]
SECRET = "hf_secret_of_the_test"


class Hub(ThreadingHTTPServer):
    """The few answers of the hub that an upload needs; keeps every request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.private = True

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _take(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        return body

    def _say(self, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._take()
        self._say(
            {
                "id": "me/small",
                "modelId": "me/small",
                "private": self.server.private,
                "sha": "0" * 40,
                "tags": [],
            }
        )

    def do_POST(self) -> None:
        body = self._take()
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._say(
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
                    ]
                }
            )
        elif "/commit/" in self.path:
            address = f"{self.server.address}/me/small/commit/{'1' * 40}"
            self._say({"commitUrl": address, "commitOid": "1" * 40, "success": True})
        elif self.path == "/api/repos/create":
            self._say({"url": f"{self.server.address}/me/small", "id": "me/small"})
        else:
            self._say({"type": "user", "name": "me"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    found = Hub()
    thread = threading.Thread(target=found.serve_forever)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", found.address)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", found.address)
    for name in hub.TOKEN_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


@pytest.fixture(scope="module")
def exported(merged: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The small run with its report and its merged model."""
    root = tmp_path_factory.mktemp("hub") / "small"
    shutil.copytree(merged[1], root)
    run_steps(merged[0], "name: small\n", root, ("report",))
    return merged[0], root


def upload(run: Trained, push: bool, private: bool = True, repository: str = "me/small") -> str:
    config, root = run
    return exports.upload(config, root, "merged", root / "export/merged/model", repository, private, push)


def test_without_push_everything_is_shown_and_nothing_sent(exported: Trained, server: Hub) -> None:
    said = upload(exported, push=False)
    assert server.requests == []
    assert (
        "Nothing is sent without --push" in said
        and f"{server.address}/me/small (private model repository)" in said
    )
    for name in ("README.md", "model.safetensors", "verify.json", "index.html"):
        assert name in said
    assert "license: other. The base model's license applies." in said and "CC0-1.0" in said
    assert "token: not set" in said and not (exported[1] / "export/hub").exists()
    assert "(PUBLIC model repository)" in upload(exported, push=False, private=False)


def test_what_was_shown_is_sent_and_the_token_is_written_nowhere(
    exported: Trained, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--push: set HF_TOKEN"):
        upload(exported, push=True)
    assert server.requests == []
    monkeypatch.setenv("HF_TOKEN", SECRET)
    said = upload(exported, push=True)
    create = next(json.loads(body) for _, path, _, body in server.requests if path == "/api/repos/create")
    assert (create.get("private") or create["visibility"] == "private") and create["name"] == "small"
    commit = next(body for _, path, _, body in server.requests if "/commit/" in path)
    rows = [json.loads(line) for line in commit.splitlines()]
    sent = {
        row["value"]["path"]: base64.b64decode(row["value"]["content"])
        for row in rows
        if row["key"] == "file"
    }
    source = exported[1] / "export/merged/model"
    assert sent["model.safetensors"] == (source / "model.safetensors").read_bytes()
    assert all(name in said for name in sent) and SECRET not in said
    front, body = split_front(sent["README.md"].decode())
    assert (
        front["library_name"] == "transformers"
        and "A LoRA adapter merged into" in body
        and "## What these files are" in body
        and "nats per token" in body
    )
    data = json.loads(sent["data.json"])
    assert sent["data.json"] == (exported[1] / "train/text/adapter/data.json").read_bytes()
    assert "/" not in data["base"]["name"]  # no folder of this machine is told to all
    assert data["licenses"]["CC0-1.0"] == "commercial" and data["stages"][0]["stage"] == "text"
    assert "| documents | made up | CC0-1.0 | 40 |" in body and "| documents | made up | CC0-1.0 |" in (
        sent["DATA.md"].decode()
    )
    assert "The training data is under CC0-1.0." in body.partition("## License")[2]
    assert "license: other. The base model's license applies. The training data is under CC0-1.0." in said
    headers = [{name.lower(): value for name, value in given.items()} for _, _, given, _ in server.requests]
    assert {given.get("authorization") for given in headers} == {f"Bearer {SECRET}"}
    files = [path for path in exported[1].rglob("*") if path.is_file()]
    assert (exported[1] / "export/hub/me--small.json") in files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_repository_that_is_public_is_not_filled_by_mistake(
    exported: Trained, server: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    server.private = False
    with pytest.raises(UserError, match="exists and is public; add --public"):
        upload(exported, push=True)
    assert not [path for _, path, _, _ in server.requests if "/commit/" in path]


def test_a_name_that_is_none_and_a_missing_card_are_refused(exported: Trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="write it as owner/name"):
        upload(exported, push=False, repository="small")
    shutil.copytree(exported[1] / "export", tmp_path / "export")
    with pytest.raises(UserError, match="no model card to upload; run `anukul report` first"):
        upload((exported[0], tmp_path), push=False)
