"""A small OpenAI-compatible completions server for tests; it states its alignment.

Its language model is a table: the next token depends on the last one alone, so that the right
log-probability of everything is known. Modes: ``shift`` 0 is OpenAI's meaning, -1 scores each
token with the logits after it, as llama-cpp-python does; see the fields of ``Server``.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Server:
    """What the server knows, does, and was asked.

    Attributes:
        tokenizer: splits the prompts.
        shift: alignment of echoed entries.
        returns_bos: whether a leading beginning token comes back among the tokens.
        bos_aligns: like llama-cpp-python, aligned if the prompt begins with the beginning token.
        returns_generated: whether the generated token is among the tokens.
        honours_n: whether ``n`` samples come back.
        takes_ids: whether a prompt may be token ids.
        logprobs: whether there are any; may be switched off while running.
        failures: answers to give first, as (status, headers).
        dies_after: requests after which connections are cut.
        damage: changes the logprobs object before it is sent.
        prompts: of requests that were answered.
        bodies: the same requests, whole.
    """

    tokenizer: Any
    seed: int = 0
    shift: int = 0
    returns_bos: bool = True
    bos_aligns: bool = False
    returns_generated: bool = True
    honours_n: bool = True
    takes_ids: bool = True
    logprobs: bool = True
    sharpness: float = 3.0
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    dies_after: int = 10**9
    damage: Any = None
    url: str = ""
    prompts: list[Any] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    peak: int = 0
    _open: int = 0
    _lock: Any = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        size = len(self.tokenizer)
        logits = self.sharpness * np.random.default_rng(self.seed).normal(size=(size, size))
        self.table: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def truth(self, ids: Any) -> NDArray[np.float64]:
        """Return the right log-probabilities of the tokens after the first."""
        return self.table[np.asarray(ids)[:-1], np.asarray(ids)[1:]]

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body["prompt"]
        ids = prompt if isinstance(prompt, list) else self.tokenizer(prompt)["input_ids"]
        seed = [body.get("seed") or 0, *ids]
        count = body.get("n", 1) if self.honours_n else 1
        return {"choices": [self._choice(body, ids, [*seed, i]) for i in range(count)]}

    def _choice(self, body: dict[str, Any], ids: list[int], seed: list[int]) -> dict[str, Any]:
        row = self.table[ids[-1]]
        new = int(np.random.default_rng(seed).choice(len(row), p=np.exp(row)))
        choice: dict[str, Any] = {"text": self._text(new), "logprobs": None}
        if self.logprobs and body.get("logprobs") is not None:
            top = body["logprobs"]
            found = self._echo(ids, new, top) if body["echo"] else self._entries([new], [row], top)
            choice["logprobs"] = self.damage(found) if self.damage and body["echo"] else found
        return choice

    def _echo(self, ids: list[int], new: int, top: int) -> dict[str, Any]:
        bos = self.tokenizer.bos_token_id
        shift = self.shift
        tokens = list(ids)
        if ids[0] == bos and self.bos_aligns:
            shift = 0
        rows = [self.table[i] for i in ids]  # rows[i]: logits after token i
        aligned = [rows[0], *rows[:-1]]
        used = aligned if shift == 0 else rows if shift == -1 else [aligned[0], *aligned[:-1]]
        if self.returns_generated:
            tokens, used = [*tokens, new], [*used, rows[-1]]
        cut = int(ids[0] == bos and not self.returns_bos)
        entries = self._entries(tokens[cut:], used[cut:], top)
        entries["token_logprobs"][0] = entries["top_logprobs"][0] = None
        return entries

    def _entries(self, tokens: list[int], rows: list[Any], top: int) -> dict[str, Any]:
        texts = [self._text(i) for i in tokens]
        # A token that begins within a character begins where the character does.
        heads = [self.tokenizer.decode(tokens[:i]).rstrip("\ufffd") for i in range(len(tokens))]
        offsets = [len(head) for head in heads]
        tops = [
            {self._text(int(i)): float(row[i]) for i in [*np.argsort(-row)[:top], token]}
            for token, row in zip(tokens, rows, strict=True)
        ]
        values = [float(row[token]) for token, row in zip(tokens, rows, strict=True)]
        return {
            "tokens": texts,
            "token_logprobs": values,
            "top_logprobs": tops,
            "text_offset": offsets,
        }

    def _text(self, token: int) -> str:
        return str(self.tokenizer.decode([token]))


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Within the block the server answers at ``server.url``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server._lock:
                server.attempts += 1
                server._open += 1
                server.peak = max(server.peak, server._open)
                dead = len(server.prompts) >= server.dies_after
                failure = server.failures.pop(0) if server.failures and not dead else None
            try:
                self._respond(body, dead, failure)
            finally:
                with server._lock:
                    server._open -= 1

        def _respond(self, body: Any, dead: bool, failure: Any) -> None:
            if dead:
                self.close_connection = True
                return
            if failure:
                self._send(failure[0], b"not now", failure[1])
                return
            if isinstance(body["prompt"], list) and not server.takes_ids:
                self._send(400, b"Input should be a valid string", {})
                return
            with server._lock:
                server.prompts.append(body["prompt"])
                server.bodies.append(body)
            self._send(200, json.dumps(server.answer(body)).encode(), {})

        def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content)

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_address[1]}/v1"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
