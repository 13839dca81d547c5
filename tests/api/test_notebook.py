"""The notebook in docs/: its cells run in order, as a kernel would run them, and show what the text says."""

import ast
import json
from pathlib import Path
from typing import Any

from support import ROOT

NOTEBOOK = ROOT / "docs" / "simplerl.ipynb"


def run_cell(source: str, names: dict[str, Any], where: str) -> Any:
    """Run a cell's statements; return the value of the last one where it is an expression."""
    tree = ast.parse(source, filename=where)
    last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)  # noqa: S102  The notebook is ours.
    return eval(compile(last, where, "eval"), names) if last else None  # noqa: S307


def test_the_notebook_runs(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "outputs are left out of the repository"
    names: dict[str, Any] = {"__name__": "__main__"}
    values, printed = [], []
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            values.append(run_cell("".join(cell["source"]), names, f"<cell {number}>"))
            printed.append(capsys.readouterr().out)
    assert values[1].correct
    assert values[2][0] is True
    assert "'question':" in printed[3]
    assert set(values[4]) <= {"correctness", "brief"}
    assert "<object: brief at " in printed[4]
    assert set(values[5]) >= {"value", "low", "high"}
    assert values[6] == 5
    assert printed[6].splitlines() == [
        line for line in printed[6].splitlines() if line.startswith(("step 4", "step 5"))
    ]
    assert "did you mean 'temperature'" in printed[7]
