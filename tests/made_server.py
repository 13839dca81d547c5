"""A server on this machine that speaks the chat-completions protocol, for tests of what asks a model."""

import contextlib
import http.server
import json
import threading
from collections.abc import Callable

KEY = "sk-secret-0123456789"

#: (status, body, headers) of one answer.
Answer = tuple[int, str, dict[str, str]]


def said(text: str | None, *, reason: str = "stop", usage: tuple[int, int] = (100, 10)) -> Answer:
    """Return a chat completion."""
    message = {"role": "assistant", "content": text}
    counts = {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return 200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": counts}), {}


def refused(status: int, message: str = "no", **headers: str) -> Answer:
    return status, json.dumps({"error": {"message": message, "type": "t", "code": None}}), headers


class Server:
    """Answers every request by a function of it, and remembers what was asked."""

    def __init__(self, answer: Callable[[dict, int], Answer]):
        self.asked: list[dict] = []
        self.keys: set[str | None] = set()
        server, lock = self, threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    server.asked.append(request)
                    server.keys.add(self.headers.get("Authorization"))
                    number = len(server.asked)
                status, body, headers = answer(request, number)
                data = body.encode()
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {"Content-Type": "application/json", **headers}.items():
                        self.send_header(name.replace("_", "-"), value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
