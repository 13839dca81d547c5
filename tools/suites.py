"""Run every suite of tests, one after the other, and print a table: what passed, what was skipped and why, how long.

    python tools/suites.py                    all of them
    python tools/suites.py default slow       these

`default` is `pytest` itself; the others are the markers of pyproject.toml. A suite whose machine or package is not here
skips its tests and says so. The exit code is 1 where a suite failed. Whatever follows `--` is passed to pytest.
"""

import argparse
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Markers that are no suites of their own.
OF_OTHERS = {"draws"}
NO_TESTS = 5  # pytest's exit code


def suites() -> list[str]:
    """Return the names of all suites, the default one first."""
    markers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    return ["default", *sorted({line.split(":")[0] for line in markers} - OF_OTHERS)]


def run(suite: str, more: list[str]) -> tuple[str, str]:
    """Run one suite; return its result and the last line of pytest's summary."""
    chosen = [] if suite == "default" else ["-m", suite, "-n", "0", "-rs"]
    command = [sys.executable, "-m", "pytest", *chosen, *more]
    last = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip(" =\n") or last
    return {0: "passed", NO_TESTS: "no tests"}.get(process.returncode, "FAILED"), last


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"any of {', '.join(suites())} (default: all)")
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    args, theirs = parser.parse_args(words[:cut]), words[cut + 1 :]
    if unknown := set(args.suites) - set(suites()):
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are: {', '.join(suites())}")
    rows = []
    for suite in args.suites or suites():
        print(f"\n### {suite}", flush=True)
        begin = time.perf_counter()
        rows.append((suite, *run(suite, theirs), time.perf_counter() - begin))
    print("\nsuite          result   seconds  summary")
    for suite, result, last, seconds in rows:
        print(f"{suite:14} {result:8} {seconds:7.0f}  {last}")
    return int(any(result == "FAILED" for _, result, *_ in rows))


if __name__ == "__main__":
    sys.exit(main())
