"""The server by itself: needs Gradio, no browser."""

import json
import subprocess
import sys
from pathlib import Path

import made_views
import pytest
from support import environment

pytest.importorskip("gradio", reason="gradio is not installed (pip install '.[view]')")
pytest.importorskip("httpx", reason="httpx, which Gradio brings, is not installed")

PROGRAM = """
import json, sys

foreign = []

def audit(event, details):
    if event == "socket.getaddrinfo" and details[0] not in ("127.0.0.1", "localhost", "testserver", None):
        foreign.append(str(details[0]))
    if event == "socket.connect" and isinstance(details[1], tuple) and details[1][0] not in ("127.0.0.1", "::1"):
        foreign.append(str(details[1]))

sys.addaudithook(audit)

from pathlib import Path
from simplerl.viewer.library import Library
from simplerl.viewer.server import application

from starlette.testclient import TestClient

found = {}
with TestClient(application(Library(Path(sys.argv[1]))), base_url="http://127.0.0.1") as client:
    for path in ("/", "/config", "/gradio_api/file=/etc/passwd", "/gradio_api/proxy=https://example.com/", "/runs",
                 "/gradio_api/runs", "/monitoring", "/docs", "/gradio_api/mcp/", "/export?problem=p1",
                 "/export?a=../x"):
        found[path] = client.get(path, follow_redirects=False).status_code
    found["upload"] = client.post("/gradio_api/upload", files={"files": b"x"}).status_code
    found["other host"] = client.get("/", headers={"Host": "evil.example"}).status_code
    found["origins"] = {}
    for origin in ("http://127.0.0.1", "http://127.0.0.1:3000", "http://localhost", "http://evil.example", "null"):
        found["origins"][origin] = [
            client.get("/export?problem=p1", headers={"Origin": origin}).status_code,
            client.post("/gradio_api/run/opened", json={"data": []}, headers={"Origin": origin}).status_code != 403,
        ]
    page, config = client.get("/"), client.get("/config").json()
    found["policy"] = page.headers["content-security-policy"]
    outside = ("fonts.googleapis", "fonts.gstatic", "cdnjs", "unpkg")
    found["external"] = [part for part in outside if part in page.text]
    found["analytics"] = config["analytics_enabled"]
    found["history"] = config.get("run_history")
    found["rows"] = client.get("/export?problem=p1").text
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
    assert found["/"] == found["/config"] == found["/export?problem=p1"] == 200
    refused = [path for path, status in found.items() if status == 403]
    assert len(refused) == 8
    assert found["upload"] == 403
    assert found["/export?a=../x"] == 404


def test_another_host_name_is_refused(found: dict) -> None:
    assert found["other host"] == 400


def test_pages_of_other_origins_are_refused(found: dict) -> None:
    """Those of other ports of this machine too: Gradio itself would let them read."""
    assert found["origins"].pop("http://127.0.0.1") == [200, True]
    assert set(map(tuple, found["origins"].values())) == {(403, False)}


def test_nothing_leaves_this_machine(found: dict) -> None:
    assert found["foreign"] == []
    assert found["external"] == []
    assert found["analytics"] is False
    assert not found["history"]
    assert "default-src 'self'" in found["policy"]
    assert "http" not in found["policy"]


def test_an_export_is_json_lines(found: dict) -> None:
    rows = [json.loads(line) for line in found["rows"].splitlines()]
    assert [(row["side"], row["step"], row["verdict"]) for row in rows] == [
        ("A", 0, "correct"),
        ("A", 0, "wrong"),
        ("B", 5, "correct"),
        ("B", 5, "correct"),
    ]
