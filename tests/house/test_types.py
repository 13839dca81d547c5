"""The source type-checks, in mypy's basic mode: what has annotations is checked, what has none is not."""

import subprocess
import sys

from support import ROOT


def test_the_source_type_checks(tmp_path_factory) -> None:
    cache = tmp_path_factory.mktemp("mypy")
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(cache)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stdout[-4000:] + check.stderr[-1000:]
