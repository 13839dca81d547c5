"""What a person sees of a run: a live display on a terminal, plain lines elsewhere, and a table at the end."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from simplerl.core.types import Trajectory, TrajectoryGroup
from simplerl.runs.directory import read_metrics
from simplerl.train.components import Inputs
from simplerl.train.config import Config
from simplerl.train.resolve import as_table, flatten
from simplerl.train.run import Callback, Outcome

#: A sampled response is shown after every so many steps.
SAMPLE_EVERY = 10


def percent(share: float | None) -> str:
    """Return a share as a percentage; a dash where there is none."""
    return "–" if share is None or share != share else f"{100 * share:.1f}%"


def printable(text: str, limit: int = 300) -> str:
    """Return model text that is safe to print: control characters shown as ·, cut to a length."""
    shown = "".join(c if c.isprintable() or c == "\n" else "·" for c in text.strip())
    return shown if len(shown) <= limit else shown[:limit] + " …"


class Lines(Callback):
    """Listens to a run and prints its lines."""

    def __init__(self, steps: int):
        self.steps = steps

    def say(self, message: str) -> None:
        """Print a line."""
        print(message, flush=True)

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Print the first and last steps, every tenth, and evaluations."""
        held_out = metrics.get("eval/accuracy")
        shown = f"  held-out {100 * held_out:.1f}%, length {metrics['eval/length']:.1f}" if held_out is not None else ""
        if step == 0:
            self.say(f"before:{shown}")
        elif shown or step % 10 == 0 or step == 1:
            self.say(f"step {step}/{self.steps}  loss {metrics['sft/loss']:.4f}{shown}")


class Terminal(Callback):
    """Listens to a run and shows it."""

    def __init__(self, config: Config, path: Path):
        self.config, self.path = config, path
        self.console = Console(highlight=False, soft_wrap=True)
        done = [line for line in read_metrics(path) if line["step"] > 0] if path.is_dir() else []
        #: Step → response tokens sampled in it. A resumed run does the last ones again and writes over them.
        self._tokens = {line["step"]: line.get("tokens/sampled", 0) for line in done}
        self._began = time.perf_counter()
        #: Share of the run that was done before this session; known at its first step.
        self._first: float | None = None
        self._progress = Progress(
            TextColumn("{task.description:>9}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self._total = config.token_budget or config.steps
        self._run = self._progress.add_task("tokens" if config.token_budget else "step", total=self._total, note="")
        self._phase = self._progress.add_task("start", total=None, note="")

    def __enter__(self) -> "Terminal":
        self._progress.start()
        self.say(
            f"{self.config.model} learns {self.config.data}, {self._length()}, seed {self.config.seed} → {self.path}"
        )
        return self

    def _length(self) -> str:
        steps, budget = self.config.steps, self.config.token_budget
        return f"{budget:,} tokens (at most {steps} steps)" if budget else f"{steps} steps"

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def say(self, message: str) -> None:
        """Show a line."""
        self.console.print(escape(message))

    def on_phase(self, name: str, total: int) -> None:
        """Start the lower bar anew."""
        self._progress.reset(self._phase, description=name, total=total or None)

    def on_response(self) -> None:
        """Move the lower bar."""
        self._progress.advance(self._phase)

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Show a step's line, and now and then a response."""
        held_out = ""
        if metrics.get("eval/accuracy") is not None:
            low, high = percent(metrics["eval/accuracy_low"]), percent(metrics["eval/accuracy_high"])
            held_out = f"held-out {percent(metrics['eval/accuracy'])} [{low}, {high}]"
        if step == 0:
            self.say(f"before training: {held_out}, length {metrics['eval/length']:.1f}")
            self._began = time.perf_counter()
            return
        share_before = self._share(step - 1)
        if self._first is None:
            self._first = share_before
        self._tokens[step] = metrics["tokens/sampled"]
        share = self._share(step)
        left = (time.perf_counter() - self._began) / (share - self._first) * (1 - share)
        note = f"accuracy {percent(metrics['accuracy/mean'])}"
        self._progress.update(self._run, completed=round(share * self._total), note=note)
        self.say(
            f"step {step:>{len(str(self.config.steps))}}/{self.config.steps}"
            f"  accuracy {percent(metrics['accuracy/mean']):>6}"
            f"  reward {metrics['reward/mean']:6.3f}"
            f"  length {metrics['length/mean']:6.1f}"
            f"  clipped {percent(metrics['length/clip_ratio']):>5}"
            f"  {metrics['throughput/tokens_per_second']:7,.0f} tok/s"
            f"  {left:4.0f} s left" + (f"  {held_out}" if held_out else "")
        )
        undecided = sum(int(metrics[f"verdict/{kind}"]) for kind in ("unjudgeable", "timeout", "error"))
        if undecided:
            self.say(f"  {undecided} responses could not be judged and were left out of the update (see trajectories/)")
            verdicts = [t.verdict for group in groups for t in group.trajectories if t.verdict.rule == "reward"]
            for detail in sorted({verdict.detail for verdict in verdicts})[:3]:
                self.say(f"  {detail}")
        if step % SAMPLE_EVERY == 0:
            self._show(groups[0].trajectories[0])

    def _share(self, step: int) -> float:
        """Return how much of the run is done after a step: of its steps, or of its token budget if that ends first."""
        steps, budget = self.config.steps, self.config.token_budget
        tokens = sum(count for at, count in self._tokens.items() if at <= step)
        return min(1.0, max(step / steps, tokens / budget if budget else 0.0))

    def _show(self, sampled: Trajectory) -> None:
        colour = {"correct": "green", "wrong": "red"}.get(sampled.verdict.status, "yellow")
        self.console.print(
            f"  [dim]{escape(printable(sampled.problem.question))}[/]"
            f" [bold]{escape(printable(sampled.completion.text))}[/]"
            f" [{colour}]{sampled.verdict.status}[/] [dim](gold {escape(printable(sampled.problem.answer, 60))})[/]"
        )


def execute(
    stage: str,
    config: Config,
    path: Path,
    *,
    resume: bool,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
    inputs: Inputs | None = None,
) -> Outcome:
    """Train (or, for the stage `sft`, fine-tune) into a directory, shown on the terminal and to the trackers."""
    if stage == "sft":
        from simplerl.train.sft import sft as run
    else:
        from simplerl.train.loop import train as run
    with ExitStack() as stack:
        watchers = list(callbacks)
        if not quiet:
            watchers.append(Lines(config.sft.steps) if stage == "sft" else stack.enter_context(Terminal(config, path)))
        if names := config.tracking.trackers:
            from simplerl.cli.trackers import Trackers

            settings = flatten(as_table(config))
            watchers.append(stack.enter_context(Trackers(names, config.tracking.project, path, settings)))
        return run(config, path, resume=resume, callbacks=watchers, inputs=inputs)


def show_ending(outcome: Outcome, command: str, path: Path) -> int:
    """Say why a run ended early and how to continue it; return the exit code."""
    finding = outcome.finding
    if finding:
        print(
            f"the doctor ended the run (doctor.action = stop): {finding.rule}: {finding.title}. {finding.seen}\n"
            f"Why it matters: {finding.why}\nWhat to try: {finding.advice}\n"
            "A checkpoint is saved. Going on with --resume does not stop at this finding again."
        )
    print(f"stopped after step {outcome.step}. Continue with: simplerl {command} --output-dir {path} --resume")
    return 1 if finding else 130


def show_outcome(summary: dict[str, Any], path: Path, config: Config) -> None:
    """Print the table before and after, where everything lies, and what to try next."""
    console = Console(highlight=False, soft_wrap=True)
    base, final = summary["base"], summary["final"]
    table = Table(title=f"held-out: {base['problems']} problems × {base['samples']} samples, 95% intervals")
    for name in ("", "before", "after"):
        table.add_column(name, justify="left" if not name else "right")

    def cell(figure: dict[str, Any]) -> str:
        return f"{percent(figure['value'])} [dim]\\[{percent(figure['low'])}, {percent(figure['high'])}][/]"

    table.add_row("[bold]accuracy (pass@1)[/]", cell(base["acc"]), cell(final["acc"]))
    for k in list(base["pass@k"])[1:]:
        table.add_row(f"pass@{k}", cell(base["pass@k"][k]), cell(final["pass@k"][k]))
    for level in base["by_level"]:
        table.add_row(escape(f"level {level}"), cell(base["by_level"][level]), cell(final["by_level"][level]))
    table.add_row("answer in the wanted form", *(percent(f["answer_ratio"]["value"]) for f in (base, final)))
    table.add_row("length (tokens)", *(f"{f['tokens']['value']:.1f}" for f in (base, final)))
    table.add_row("truncated", *(percent(f["clip_ratio"]["value"]) for f in (base, final)))
    console.print(table)
    ended = " (the token budget is used up)" if summary["ended_by"] == "token_budget" else ""
    console.print(
        f"{summary['steps']} steps{ended}, {summary['tokens']['sampled']:,} tokens sampled, "
        f"{summary['seconds']:.0f} s. Run: {escape(str(path))}  plot: {escape(str(path / 'learning.png'))}"
    )
    console.print(
        f"See what happened: simplerl report {escape(str(path))}, or simplerl view {escape(str(path.parent))} for a "
        "page over all runs"
    )
    more = f"--output-dir {escape(str(path))} --resume --steps {2 * summary['steps']}"
    console.print(
        "Try next: --shuffle-rewards (the control: nothing to learn), --model cub-llama (seldom answers in a box), or "
        "a real model: simplerl train --model DIR_OR_HUB_NAME --data FILE_OR_NAME"
        if config.model.startswith("cub-")
        else f"Try next: more steps ({more}), or another --seed"
    )
