"""Result directories: where an evaluation of one model on one benchmark under one protocol is kept.

    OUT/MODEL/BENCHMARK/KEY/
        protocol.json        everything that matters for the result; its hash is in KEY
        parts/part_N.parquet responses of some problems, while the evaluation runs
        responses.parquet    all of them, when it is complete
        figures.json         what they come to; says that the evaluation is complete
        timing.json          seconds and machine: what may differ between two equal results

KEY names the protocol, so that another temperature or another checkpoint under the same name is another directory:
nothing is skipped or overwritten by mistake.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow

from simplerl.core.errors import RunError
from simplerl.core.types import TrajectoryGroup
from simplerl.runs.files import LockedDirectory, cannot_write, write_json
from simplerl.runs.responses import SCHEMA, ResponseFile, write_table, write_trajectories

RESPONSES, FIGURES, PROTOCOL, TIMING = "responses.parquet", "figures.json", "protocol.json", "timing.json"


def slug(name: str) -> str:
    """Return a name that is one path component and cannot lead elsewhere."""
    return re.sub(r"[^\w.@+=-]+", "-", name).strip("-.") or "unnamed"


def key_of(shown: str, protocol: Mapping[str, Any]) -> str:
    """Return `shown` and a hash of the complete protocol."""
    canonical = json.dumps(protocol, sort_keys=True, ensure_ascii=False)
    return f"{slug(shown)}_{hashlib.sha256(canonical.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"


class ResultDirectory(LockedDirectory):
    """One evaluation that is being made, or is complete."""

    folders = ("parts",)

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return (self.path / FIGURES).is_file() and (self.path / RESPONSES).is_file()

    def begin(self, protocol: Mapping[str, Any], *, overwrite: bool) -> None:
        """Write the protocol, keeping what is there already unless `overwrite`."""
        if overwrite:
            # The figures go first: a process that ends here must not leave old ones beside new responses.
            old = [self.path / name for name in (FIGURES, RESPONSES, TIMING)]
            try:
                for file in [*old, *(self.path / "parts").iterdir()]:
                    file.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(self.path, error) from error
        write_json(self.path / PROTOCOL, dict(protocol))

    def part(self, number: int) -> Path:
        """Return the file of a part."""
        return self.path / "parts" / f"part_{number:05d}.parquet"

    def has_part(self, number: int) -> bool:
        """Return whether a part is there and can be read to its end; a damaged one is made again."""
        try:
            return ResponseFile(self.part(number)).read_exactly().schema.equals(SCHEMA)
        except RunError:
            return False

    def write_part(self, number: int, step: int, groups: Sequence[TrajectoryGroup]) -> None:
        """Write the responses of some problems."""
        write_trajectories(self.part(number), step, groups)

    def join(self, parts: int) -> ResponseFile:
        """Make one file of the parts, and return it."""
        tables = [ResponseFile(self.part(number)).read_exactly() for number in range(parts)]
        write_table(self.path / RESPONSES, pyarrow.concat_tables(tables))
        return ResponseFile(self.path / RESPONSES)

    def finish(self, figures: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
        """Write what came of it; the parts are no longer needed."""
        write_json(self.path / TIMING, dict(timing))
        write_json(self.path / FIGURES, dict(figures))
        shutil.rmtree(self.path / "parts", ignore_errors=True)

    def update(self, figures: Mapping[str, Any]) -> None:
        """Write other figures of the same responses."""
        write_json(self.path / FIGURES, dict(figures))
