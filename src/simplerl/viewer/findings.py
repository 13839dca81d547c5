"""What the doctor finds in the runs that are chosen, as HTML."""

from pathlib import Path

from simplerl.core.errors import RunError, SimpleRLError
from simplerl.doctor import Diagnosis, Finding, diagnose
from simplerl.markup.text import escape, one_line
from simplerl.viewer.catalog import Entry


def diagnosis(entry: Entry) -> Diagnosis:
    """Return the diagnosis of a run. Raises SimpleRLError where there is none to make.

    The doctor reads all files of a run; where one of them is a link, which may lead anywhere, it is not called.
    """
    folders = [entry.path, entry.path / "evaluations", entry.path / "trajectories"]
    linked = [path for folder in folders if folder.is_dir() for path in _links(folder)]
    if linked:
        raise RunError(f"{entry.name} holds links ({linked[0].name}): the doctor does not read it here")
    return diagnose(entry.path)


def _links(folder: Path) -> list[Path]:
    return [folder] if folder.is_symlink() else [path for path in folder.iterdir() if path.is_symlink()]


def findings(name: str, found: Diagnosis | SimpleRLError) -> str:
    """Return what was found in one run."""
    head = f"<h3>doctor: {escape(name)}</h3>"
    if isinstance(found, SimpleRLError):
        return f'{head}<div class="faint">{escape(str(found)[:400])}</div>'
    if not found.findings:
        verdict = (
            f"healthy: {len(found.clean)} rules found nothing" if found.healthy else "no rule could be applied yet"
        )
        return f'{head}<div class="up">{verdict}</div>'
    return head + "".join(_finding(finding) for finding in found.findings)


def _finding(finding: Finding) -> str:
    css = "down" if finding.severity == "serious" else "warn"
    when = f"steps {finding.steps[0]} to {finding.steps[1]}{'' if finding.lasting else ', passed'}"
    example = "".join(
        f'<div class="faint">step {e.step}, {one_line(e.problem_id, limit=60)}: {one_line(e.excerpt)}</div>'
        for e in finding.examples[:1]
    )
    return (
        f'<details><summary><span class="{css}">{escape(finding.severity)}</span> {escape(finding.title)} '
        f'<span class="faint">{when}</span></summary><div>{escape(finding.seen)}</div>{example}'
        f"<div>{escape(finding.why)}</div><div><b>try</b> {escape(finding.advice)}</div></details>"
    )
