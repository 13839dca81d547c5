"""The server of the page: this machine only, read only, and nothing but what the page needs.

The only module that imports the web framework under Gradio.
"""

import atexit
import errno
import itertools
import json
import os
import shutil
import socket
import tempfile
import tomllib
import urllib.parse
from pathlib import Path
from typing import Any

from simplerl.core.errors import RunError, SimpleRLError
from simplerl.viewer.library import Library
from simplerl.viewer.state import parse

HOST = "127.0.0.1"

#: Ports tried after the one that was asked for.
FURTHER_PORTS = 50

_TABLES = tomllib.loads(Path(__file__).with_name("server.toml").read_text(encoding="utf-8"))


def free_socket(port: int) -> socket.socket:
    """Return a socket that listens on this machine only, on the port or the next free one."""
    candidate = port
    for candidate in range(port, min(port + FURTHER_PORTS, 65_536)):
        try:
            return socket.create_server((HOST, candidate), backlog=128)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                continue
            problem = f"cannot listen on port {candidate}: {error.strerror}; choose another --port"
            if error.errno == errno.EACCES:
                problem = f"port {candidate} is not allowed to you; choose one above 1023 with --port"
            raise SimpleRLError(problem) from None
    raise SimpleRLError(f"ports {port} to {candidate} are all in use; choose another with --port")


def application(library: Library):
    """Return the ASGI application of the page. Raises SimpleRLError where Gradio is not installed."""
    # Before the import: Gradio reads these then. Its temporary files must not lie in the directory that is shown.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # One of this process's own: others who use the machine could have made a directory of a fixed name.
    os.environ["GRADIO_TEMP_DIR"] = temporary = tempfile.mkdtemp(prefix="simplerl-view-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    try:
        from fastapi import FastAPI
        from starlette.middleware.trustedhost import TrustedHostMiddleware
        from starlette.responses import PlainTextResponse, StreamingResponse

        from simplerl.viewer.page import mounted
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "simplerl":
            raise
        problem = f"the page needs Gradio, and {error.name} is not installed: pip install 'simplerl[view]'"
        raise SimpleRLError(problem) from None

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def export(request):
        shown = library.now()
        try:
            view, complaints = shown.resolve(parse(request.url.query)[0])
            if complaints:
                raise RunError("\n".join(complaints))
            rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in shown.export(view))
            lines = (line.encode("utf-8", "replace") for line in rows)
            first = next(lines, b"")  # What cannot be read is found now, while there can still be a message.
        except RunError as error:
            return PlainTextResponse(f"{error}\n", status_code=404)
        name = f"{library.root.name}-{'problem' if view.problem is not None else 'responses'}.jsonl"
        quoted = urllib.parse.quote(name, safe="", errors="replace")
        headers = {
            "Content-Type": "application/x-ndjson; charset=utf-8",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quoted}",
        }
        return StreamingResponse(itertools.chain([first], lines), headers=headers)

    app.add_route("/export", export)
    app.add_middleware(_Guard)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    return mounted(app, library)


class _Guard:
    """Refuses what the page does not need, and sets the headers of every answer.

    Not a function under `@app.middleware`: that one raises where a browser goes away before its answer.
    """

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import Headers, MutableHeaders
        from starlette.responses import PlainTextResponse

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_TABLES["headers"])
            await send(message)

        why = "" if scope["type"] == "lifespan" else _refusal(scope["path"], Headers(scope=scope))
        answer = PlainTextResponse(why, status_code=403) if why else self.app
        await answer(scope, receive, with_headers)


def _refusal(path: str, headers: Any) -> str:
    """Return why a request is refused; nothing where it is not."""
    allowed = _TABLES["allowed"]
    if path not in allowed["paths"] and not path.startswith(tuple(allowed["below"])):
        return "not part of this page"
    # Gradio lets pages of every other port of this machine read along.
    origin = headers.get("origin")
    if origin is not None and urllib.parse.urlsplit(origin).netloc != headers.get("host"):
        return "not for other pages"
    return ""


def serve(application: Any, listening: socket.socket) -> None:
    """Serve until Ctrl-C."""
    import uvicorn

    options: Any = {"log_level": "warning", "timeout_graceful_shutdown": 1, "ws": "none", "server_header": False}
    uvicorn.Server(uvicorn.Config(application, **options)).run(sockets=[listening])
