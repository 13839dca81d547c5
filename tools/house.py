"""Print the size of the house: lines of Python by room beside the budget, and the files from the command to the loss.

    python tools/house.py            a table
    python tools/house.py --check    exit with 1 where a limit is exceeded

The files from the command to the loss are measured, not listed by hand: a tiny `simplerl train` runs in this process,
and while its first step runs, until the first loss is returned, every file of the package is noted that is on the call
stack while tokens are sampled (the backend), credit is given or the loss is computed (the algorithm and its
mathematics). What is imported, configured, put together or evaluated before the first step is not part of the way. The
configuration is added.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

SOURCE = Path(__file__).parent.parent / "src" / "simplerl"

#: Largest number of lines in all (22,000 after the rebuild, 26,000 with what was built since), and in one room.
TOTAL, ROOM = 26_000, 3_600
#: Most files from the command line to the loss.
FILES = 12
TINY = {
    "steps": 1,
    "sampling.prompts-per-step": 4,
    "sampling.samples-per-prompt": 8,
    "dataset.size": 20,
    "evaluation.size": 2,
    "evaluation.samples": 1,
}


def lines_by_room() -> Counter[str]:
    """Return room → lines of Python; modules outside rooms count as `(top)`."""
    rooms: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).parts
        rooms[parts[0] if len(parts) > 1 else "(top)"] += len(path.read_text(encoding="utf-8").splitlines())
    return rooms


def files_to_loss() -> list[str]:
    """Return the files of the method that run from the command line to the first loss, in the order of first use."""
    os.environ["OMP_NUM_THREADS"] = "1"  # Of several threads only this one would be watched.
    from simplerl.algorithms import ALGORITHMS
    from simplerl.cli import main

    files: dict[str, None] = {"cli/train.py": None, "config/sections.py": None}
    losses = {cls.loss.__code__ for cls in ALGORITHMS.values()}
    done = False

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal done
        if event == "return" and frame.f_code in losses:
            done = True
        if done or event != "call" or not frame.f_code.co_filename.startswith(str(SOURCE)):
            return
        stack: list[str] = []
        at: FrameType | None = frame
        while at is not None:
            if at.f_code.co_filename.startswith(str(SOURCE)):
                stack.append(Path(at.f_code.co_filename).relative_to(SOURCE).as_posix())
            at = at.f_back
        # In a step the loop itself calls the feed or the learner; what stands before the first one is beginning a run.
        if "train/loop.py" not in stack or "train/run.py" in stack:
            return
        credit = any(name.startswith("algorithms/") for name in stack)
        if stack[0] == "rollout/native.py" or (credit and stack[0].startswith(("algorithms/", "ops/"))):
            files.update(dict.fromkeys(reversed(stack)))

    arguments = [word for key, value in TINY.items() for word in (f"--{key}", str(value))]
    with tempfile.TemporaryDirectory() as directory:
        sys.setprofile(watch)
        try:
            code = main(["train", *arguments, "--output-dir", str(Path(directory) / "run")])
        finally:
            sys.setprofile(None)
    if code or not done:
        sys.exit(f"the tiny run ended with exit code {code}; a loss was {'seen' if done else 'not seen'}")
    return [name for name in files if not name.endswith("__init__.py") and name != "__main__.py"]


def main() -> int:
    """Print the table; with --check compare with the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit with 1 where a limit is exceeded")
    parser.add_argument("--lines-only", action="store_true", help="do not run the tiny training")
    args = parser.parse_args()
    rooms = lines_by_room()
    for room, lines in rooms.most_common():
        print(f"{room:12} {lines:7,}{'  over ' + format(ROOM, ',') if lines > ROOM else ''}")
    print(f"{'all':12} {sum(rooms.values()):7,}  (limit {TOTAL:,})")
    fine = sum(rooms.values()) <= TOTAL and max(rooms.values()) <= ROOM
    if not args.lines_only:
        files = files_to_loss()
        print(f"\n{len(files)} files from the command to the loss (limit {FILES}): {', '.join(files)}")
        fine = fine and len(files) <= FILES
    return 0 if fine or not args.check else 1


if __name__ == "__main__":
    sys.exit(main())
