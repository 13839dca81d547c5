"""The GPU check lists every test that is marked `gpu`, and only prints without a GPU."""

import re
import subprocess
import sys

from support import ROOT, environment

SCRIPT = ROOT / "tools" / "gpu_check.py"


def test_every_gpu_test_has_a_line() -> None:
    marked = [path for path in (ROOT / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text()]
    assert [path.name for path in marked if path.name != "test_gpu_check.py"] == ["test_gpu.py"]
    names = re.findall(r"^def (test_\w+)", (ROOT / "tests" / "train" / "test_gpu.py").read_text(), re.MULTILINE)
    for name in names:
        assert name in SCRIPT.read_text(), f"tools/gpu_check.py has no line for {name}"


def test_it_says_what_it_would_run() -> None:
    command = [sys.executable, str(SCRIPT), "--dry-run"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tests/train/test_gpu.py::") == 11
    assert "pytest -n 0 -m vllm -k not split tests/rollout/test_contract.py\n" in done.stdout
    assert "--rollout.backend vllm" in done.stdout
