"""Makes the benchmarks' modules importable, as running `benchmarks/training.py` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
