"""The server by itself: needs no browser."""

import json
import subprocess
import sys
from pathlib import Path

import made_views
import pytest
from support import environment

PROGRAM = """
import http.client, json, sys, threading

foreign = []

def audit(event, details):
    if event == "socket.getaddrinfo" and details[0] not in ("127.0.0.1", "localhost", None):
        foreign.append(str(details[0]))
    if event == "socket.connect" and isinstance(details[1], tuple) and details[1][0] not in ("127.0.0.1", "::1"):
        foreign.append(str(details[1]))

sys.addaudithook(audit)

from pathlib import Path
from simplerl.viewer.library import Library
from simplerl.viewer.page import HOST, open_server

server = open_server(Library(Path(sys.argv[1])), 47900)
port = server.server_address[1]
threading.Thread(target=server.serve_forever, daemon=True).start()

def ask(path, method="GET", **headers):
    connection = http.client.HTTPConnection(HOST, port)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read().decode()

paths = ("/", "/page.js", "/page.css", "/stamp", "/export?problem=p1", "/export?a=../x", "/page.js/../page.py",
         "/../../etc/passwd", "//etc/passwd", "/runs", "/docs", "/%2e%2e/x")
found = {path: ask(path)[0] for path in paths}
found["methods"] = [ask("/", method)[0] for method in ("POST", "PUT", "DELETE", "HEAD")]
hosts = ("127.0.0.1", f"localhost:{port}", "127.0.0.1:9999", "evil.example", "evil.example:80", "127.0.0.1.evil.org")
found["hosts"] = [ask("/", Host=host)[0] for host in hosts]
found["origins"] = {}
for origin in (f"http://127.0.0.1:{port}", "http://127.0.0.1:3000", "http://localhost", "http://evil.example", "null"):
    found["origins"][origin.replace(str(port), "PORT")] = ask("/export?problem=p1", Origin=origin)[0]
_, found["headers"], found["page"] = ask("/")
found["rows"] = ask("/export?problem=p1")[2]
found["foreign"] = foreign
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict:
    directory: Path = tmp_path_factory.mktemp("served")
    made_views.run(directory / "mine", {0: made_views.group("p1", "cw"), 5: made_views.group("p1", "cc")})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_only_what_the_page_needs_is_served(found: dict) -> None:
    assert [path for path, status in found.items() if status == 200] == [
        "/", "/page.js", "/page.css", "/stamp", "/export?problem=p1",
    ]  # fmt: skip
    assert [path for path, status in found.items() if status == 404] == [
        "/export?a=../x", "/page.js/../page.py", "/../../etc/passwd", "//etc/passwd", "/runs", "/docs", "/%2e%2e/x",
    ]  # fmt: skip
    assert found["methods"] == [501] * 4


def test_another_host_name_is_refused(found: dict) -> None:
    """A port of another number is one that ssh forwards."""
    assert found["hosts"] == [200, 200, 200, 403, 403, 403]


def test_pages_of_other_origins_are_refused(found: dict) -> None:
    """Those of other ports of this machine too."""
    assert found["origins"].pop("http://127.0.0.1:PORT") == 200
    assert set(found["origins"].values()) == {403}


def test_nothing_leaves_this_machine(found: dict) -> None:
    assert found["foreign"] == []
    assert "//" not in found["page"].replace("<!DOCTYPE html>", "")
    policy = found["headers"]["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "unsafe" not in policy
    assert "http" not in policy


def test_an_export_is_json_lines(found: dict) -> None:
    rows = [json.loads(line) for line in found["rows"].splitlines()]
    assert [(row["side"], row["step"], row["verdict"]) for row in rows] == [
        ("A", 0, "correct"),
        ("A", 0, "wrong"),
        ("B", 5, "correct"),
        ("B", 5, "correct"),
    ]
