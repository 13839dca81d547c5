"""Child processes that serve this one over a socket: how they start, what their last words were, how they end.

A child that reads from its socket until that is closed, and leaves then, does not outlive its parent, however that
ends.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Letters of a line that are shown: a library may put all it knows into one.
LINE = 600


def start_child(
    command: tuple[str, ...], settings: Mapping[str, Any], said: Path, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start Python with a command and settings (as JSON); return the process and this end of its socket.

    The other end is its standard input; what it says goes to the file `said`. It imports what this process can, unless
    the environment has another PYTHONPATH.
    """
    ours, theirs = socket.socketpair()
    path = [os.path.abspath(each) for each in sys.path]
    with theirs, said.open("wb") as output:
        # A group of its own: Ctrl-C is the controller's to handle.
        process = subprocess.Popen(
            [sys.executable, "-P", *command, json.dumps(settings)],
            stdin=theirs.fileno(),
            stdout=output,
            stderr=output,
            process_group=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
        )
    return process, ours


def last_words(process: Any, said: Path, otherwise: str) -> str:
    """Return how a child has ended, `otherwise` where it has not within a second, with its last five lines, cut."""
    try:
        code = process.wait(timeout=1)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    except subprocess.TimeoutExpired:
        how = otherwise
    lines = said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-5:]
    return how + ("; it said:\n" + "\n".join(f"  {line[:LINE]}" for line in lines) if lines else ", and said nothing")
