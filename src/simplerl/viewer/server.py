"""The server of the page: this machine only, read only, and nothing but what the page needs."""

import contextlib
import errno
import itertools
import json
import socketserver
import sys
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import quote, urlsplit

from simplerl.core.errors import RunError, SimpleRLError
from simplerl.markup import CSS
from simplerl.viewer.html import page
from simplerl.viewer.library import Library, parse

HOST = "127.0.0.1"

#: Ports tried after the one that was asked for.
FURTHER_PORTS = 50

#: Headers of every answer: our script and our style sheet are all that a page may load, and only this server is asked.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(socketserver.ThreadingTCPServer):
    """Serves the page of a library, a thread per request."""

    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    def __init__(self, library: Library, port: int):
        self.library = library
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say what went wrong; a browser that goes away before its answer is nothing wrong."""
        if not isinstance(error := sys.exc_info()[1], ConnectionError | TimeoutError):
            print(f"internal error: {type(error).__name__}: {error}", file=sys.stderr)


def open_server(library: Library, port: int) -> Server:
    """Return a server that listens on the port or the next free one. Raises SimpleRLError where there is none."""
    candidate = port
    for candidate in range(port, min(port + FURTHER_PORTS, 65_536)):
        try:
            return Server(library, candidate)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            problem = f"cannot listen on port {candidate}: {error.strerror}; choose another --port"
            if error.errno == errno.EACCES:
                problem = f"port {candidate} is not allowed to you; choose one above 1023 with --port"
            raise SimpleRLError(problem) from None
    raise SimpleRLError(f"ports {port} to {candidate} are all in use; choose another with --port")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 60  # Seconds without a word, after which a connection is given up

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of single requests."""

    def do_GET(self) -> None:
        """Answer a request, where it comes from a page of this server under a name of this machine."""
        url, host, origin = urlsplit(self.path), self.headers.get("Host", ""), self.headers.get("Origin")
        here, library = Path(__file__).parent, self.server.library
        if host.rpartition(":")[0] not in (HOST, "localhost") and host not in (HOST, "localhost"):
            self._answer("not under this host name\n", status=403)
        elif origin is not None and urlsplit(origin).netloc != host:
            self._answer("not for other pages\n", status=403)
        elif url.path == "/":
            self._answer(page(library, url.query), "text/html")
        elif url.path == "/page.js":
            self._answer((here / "page.js").read_text(encoding="utf-8"), "text/javascript")
        elif url.path == "/page.css":
            self._answer(CSS + (here / "page.css").read_text(encoding="utf-8"), "text/css")
        elif url.path == "/stamp":
            self._answer(library.stamp())
        elif url.path == "/export":
            self._export(library.now(), url.query)
        else:
            self._answer("not part of this page\n", status=404)

    def _answer(self, text: str, kind: str = "text/plain", *, status: int = 200) -> None:
        self._send([text.encode("utf-8", "replace")], {"Content-Type": f"{kind}; charset=utf-8"}, status)

    def _send(self, parts: Iterable[bytes], headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.writelines(parts)

    def _export(self, library: Library, query: str) -> None:
        """Send the responses that a link shows as JSON lines."""
        try:
            view, complaints = library.resolve(parse(query)[0])
            if complaints:
                raise RunError("\n".join(complaints))
            rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in library.export(view))
            lines = (line.encode("utf-8", "replace") for line in rows)
            first = next(lines, b"")  # What cannot be read is found now, while there can still be a message.
        except RunError as error:
            self._answer(f"{error}\n", status=404)
            return
        name = f"{library.root.name}-{'problem' if view.problem is not None else 'responses'}.jsonl"
        disposition = f"attachment; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
        headers = {"Content-Type": "application/x-ndjson; charset=utf-8", "Content-Disposition": disposition}
        self._send(itertools.chain([first], lines), headers)


def serve(server: Server) -> None:
    """Serve until Ctrl-C."""
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
