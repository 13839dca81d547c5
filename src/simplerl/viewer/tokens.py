"""Token ids as texts, by the tokenizer.json of a run's checkpoint: no model is loaded and no code of its is run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simplerl.viewer.catalog import Catalog, Entry, inside

LARGEST = 100_000_000
"""Largest tokenizer file that is read (bytes)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """A tokenizer, or why there is none."""

    tokenizer: Any
    problem: str

    def texts(self, ids: Sequence[int]) -> list[str]:
        """Return the text of each token; its number where there is no tokenizer or no such token."""
        if self.tokenizer is None:
            return [f"⟨{number}⟩" for number in ids]
        known: dict[int, str] = {}
        return [known[i] if i in known else known.setdefault(i, self._text(i)) for i in ids]

    def _text(self, number: int) -> str:
        name = self.tokenizer.id_to_token(number) if number >= 0 else None
        if name is None:
            return f"⟨{number}⟩"
        if "▁" in name:
            return name.replace("▁", " ")
        text = self.tokenizer.decode([number], skip_special_tokens=False)
        # A part of a character decodes to replacement characters: then its name says more.
        return text if text and "\ufffd" not in text else f"⟨{name}⟩"


def tokens_for(root: Path, entry: Entry, catalog: Catalog) -> Tokens:
    """Return the tokenizer of an entry's newest checkpoint under the root. Results use the run of the same name."""
    runs = [entry, *(other for other in catalog.entries.values() if other.metrics and _same(other, entry))]
    problem = f"no tokenizer.json in checkpoints of {entry.name}: tokens are shown by number"
    for run in runs:
        for file in sorted((run.path / "checkpoints").glob("step_*/tokenizer.json"), reverse=True):
            if not inside(root, file) or not file.is_file() or file.stat().st_size > LARGEST:
                problem = f"{file.name} of {run.name} leads outside or is too large: tokens are shown by number"
                continue
            try:
                return Tokens(tokenizer=_load(file), problem="")
            except Exception as error:  # The library raises plain Exception on a damaged file.
                problem = f"{file.relative_to(root)} cannot be read ({str(error)[:100]}): tokens are shown by number"
    return Tokens(tokenizer=None, problem=problem)


def _same(run: Entry, results: Entry) -> bool:
    return results.metrics is None and results.name.removesuffix(" (eval)") == run.path.name


def _load(file: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(file))
