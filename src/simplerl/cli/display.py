"""What a person sees of a run: a live display, or plain lines; trackers, where they are wanted; a table at the end."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape

from simplerl.analysis.estimates import shown
from simplerl.cli.console import Bar, counted, one_line, printable, say, show_table
from simplerl.config.sections import Config
from simplerl.core.errors import ConfigError, nearest
from simplerl.core.types import Trajectory, TrajectoryGroup
from simplerl.runs.directory import read_metrics
from simplerl.runs.run import Run, greedy_figures
from simplerl.train.run import Callback, Outcome


class Terminal(Bar, Callback):
    """Listens to a run and shows it."""

    def __init__(self, config: Config, path: Path, stage: str = "train"):
        tuning = stage == "sft"
        self.steps, self.budget = (config.sft.steps, 0) if tuning else (config.steps, config.token_budget)
        super().__init__("tokens" if self.budget else "step", self.budget or self.steps)
        steps = counted(self.steps, "step")
        length = f"{self.budget:,} tokens (at most {steps})" if self.budget else steps
        data = config.sft.data if tuning else config.data
        self._title = f"{config.model} learns {data}, {length}, seed {config.seed} → {path}"
        done = [line for line in read_metrics(path) if line["step"] > 0]
        #: Step → response tokens sampled in it. A resumed run does the last ones again and writes over them.
        self._tokens = {line["step"]: line.get("tokens/sampled", 0) for line in done}
        self._began = time.perf_counter()
        self._first: float | None = None  # Share of the run that was done before this session, from its first step on

    def say(self, message: str) -> None:
        """Show a line above; before the first one what the run is, of which nothing is said where it is refused."""
        title, self._title = self._title, ""
        for line in filter(None, (title, message)):
            super().say(line)

    def on_phase(self, name: str, total: int) -> None:
        """Show a phase of a step."""
        self.say("")
        self.start(name, total)

    on_response = Bar.advance

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[TrajectoryGroup]) -> None:
        """Show a step's line, and now and then a response."""
        held_out = ""
        if metrics.get("eval/accuracy") is not None:
            names = {"value": "eval/accuracy", "low": "eval/accuracy_low", "high": "eval/accuracy_high"}
            held_out = f"held-out {shown({key: metrics[name] for key, name in names.items()}, unit='%')}"
            if metrics.get("eval/accuracy_greedy") is not None:
                held_out += f", greedy {shown(metrics['eval/accuracy_greedy'], unit='%')}"
        if step == 0:
            seen = [held_out or "no response could be judged", f"length {metrics['eval/length']:.1f}"]
            self.say(f"before training: {', '.join(seen)}")
            self._began = time.perf_counter()
            return
        if self._first is None or self._share(step - 1) < self._first:  # The run may have gone back.
            self._first = self._share(step - 1)
        self._tokens[step] = metrics.get("tokens/sampled", 0)
        share = self._share(step)
        # A step that samples nothing brings a run no nearer to the end of its budget.
        left = (time.perf_counter() - self._began) / max(share - self._first, 1e-9) * (1 - share)
        head = f"step {step:>{len(str(self.steps))}}/{self.steps}"
        if "sft/loss" in metrics:  # Short steps: the first one, every tenth, and those with an evaluation.
            self.move(step, f"loss {metrics['sft/loss']:.4f}")
            if held_out or step % 10 == 0 or step == 1:
                self.say(
                    f"{head}  loss {metrics['sft/loss']:.4f}  {left:4.0f} s left"
                    + (f"  {held_out}" if held_out else "")
                )
            return
        accuracy = shown(metrics["accuracy/mean"], unit="%")
        self.move(round(share * (self.budget or self.steps)), f"accuracy {accuracy}")
        self.say(
            f"{head}  accuracy {accuracy:>6}"
            f"  reward {metrics['reward/mean']:6.3f}"
            f"  length {metrics['length/mean']:6.1f}"
            f"  clipped {shown(metrics['length/clip_ratio'], unit='%'):>5}"
            f"  {metrics['throughput/tokens_per_second']:7,.0f} tok/s"
            f"  {left:4.0f} s left" + (f"  {held_out}" if held_out else "")
        )
        if "star/temperature" in metrics:
            self.say(
                f"  temperature {metrics['star/temperature']:g}, threshold {metrics['star/threshold']:g}: query effect "
                f"{metrics['star/query_effect']:.3f}, {metrics['star/examples']:,} responses imitated"
            )
        undecided = sum(int(metrics[f"verdict/{kind}"]) for kind in ("unjudgeable", "timeout", "error"))
        if undecided:
            self.say(f"  {undecided} responses could not be judged and were left out of the update (see trajectories/)")
            verdicts = [t.verdict for group in groups for t in group.trajectories if t.verdict.rule == "reward"]
            for detail in sorted({verdict.detail for verdict in verdicts})[:3]:
                self.say(f"  {detail}")
        if step % 10 == 0:
            self._show(groups[0].trajectories[0])

    def _share(self, step: int) -> float:
        """Return how much of the run is done after a step: of its steps, or of its token budget if that ends first."""
        tokens = sum(count for at, count in self._tokens.items() if at <= step)
        return min(1.0, max(step / self.steps, tokens / self.budget if self.budget else 0.0))

    def _show(self, sampled: Trajectory) -> None:
        colour = {"correct": "green", "wrong": "red"}.get(sampled.verdict.status, "yellow")
        self.console.print(
            f"  [dim]{escape(printable(sampled.problem.question.strip(), 300))}[/]"
            f" [bold]{escape(printable(sampled.completion.text.strip(), 300))}[/]"
            f" [{colour}]{sampled.verdict.status}[/] [dim](gold {escape(one_line(sampled.problem.answer))})[/]"
        )


class Trackers(Callback):
    """Experiment trackers (wandb, TensorBoard, trackio, mlflow …) through Accelerate's adapters.

    They get the configuration and the metrics, nothing else: no environment, no keys.
    """

    def __init__(self, names: Sequence[str], project: str, path: Path, config: Mapping[str, Any]):
        """Check the names. The trackers start with the first metrics: only then is the run directory ours."""
        self._names, self._project, self._path, self._config = names, project, path, config
        self._trackers: list[Any] | None = None
        try:
            from accelerate.tracking import LOGGER_TYPE_TO_CLASS
        except ImportError as error:
            needed = f"tracking.trackers = {', '.join(names)} needs: pip install 'simplerl[trackers]'"
            raise ConfigError(needed) from error
        self._classes = LOGGER_TYPE_TO_CLASS
        if unknown := next((name for name in names if name not in self._classes), None):
            raise ConfigError(f"unknown tracker {unknown!r}; {nearest(unknown, map(str, self._classes))}")

    def _start(self, name: str) -> Any:
        tracker_class = self._classes[name]
        directory = {"logging_dir": str(self._path / "trackers")} if tracker_class.requires_logging_directory else {}
        plain = {k: v if isinstance(v, int | float | str | bool) else str(v) for k, v in self._config.items()}
        try:
            tracker = tracker_class(self._project, **directory)
            if hasattr(tracker, "start"):
                tracker.start()
            tracker.store_init_configuration(plain)
        except ImportError as error:
            raise ConfigError(f"tracker {name!r} is not installed: pip install {name}") from error
        return tracker

    def on_step(self, step: int, metrics: Mapping[str, Any], groups: Sequence[Any]) -> None:
        """Hand on a step's metrics."""
        if self._trackers is None:
            from accelerate import PartialState

            PartialState()
            self._trackers = [self._start(name) for name in self._names]
        for tracker in self._trackers:
            tracker.log(dict(metrics), step=step)

    def close(self) -> None:
        """Close the trackers."""
        for tracker in self._trackers or ():
            tracker.finish()


def show_ending(outcome: Outcome, command: str, path: Path) -> int:
    """Say why a run ended early and how to continue it; return the exit code."""
    finding = outcome.finding
    if finding:
        say(
            f"the doctor ended the run (doctor.action = stop): {finding.rule}: {finding.title}. {finding.seen}\n"
            f"Why it matters: {finding.why}\nWhat to try: {finding.advice}\n"
            "A checkpoint is saved. Going on with --resume does not stop at this finding again."
        )
    say(f"stopped after step {outcome.step}. Continue with: simplerl {command} --output-dir {path} --resume")
    return 1 if finding else 130


def show_outcome(stage: str, config: Config, path: Path) -> None:
    """Print the table before and after, where everything lies, and what to try next."""
    summary = Run(path).summary or {}
    base = summary["base"]
    sides = (base, summary["final"])
    greedy = [figures for side in sides if (figures := greedy_figures(side))]

    def row(name: str, figures: Iterable[Any], *, share: bool = True) -> tuple[str, ...]:
        return (name, *(shown(figure, share=share, unit="%" if share else "") for figure in figures))

    rows = [
        *([row("accuracy, greedy", (side["acc"] for side in greedy))] if len(greedy) == 2 else []),
        *([row("accuracy, sampled (pass@1)", (side["acc"] for side in sides))] if base["temperature"] else []),
        *(row(f"pass@{k}", [side["pass@k"][k] for side in sides]) for k in list(base["pass@k"])[1:]),
        *(row(f"level {level}", [side["by_level"][level] for side in sides]) for level in base["by_level"]),
        *(row(source, [side["by_source"][source] for side in sides]) for source in base.get("by_source", ())),
        row("answer in the wanted form", (side["answer_ratio"]["value"] for side in sides)),
        *(
            [row("calls a tool", [side["tool_ratio"] for side in sides])]
            if base.get("tool_ratio", {}).get("problems")
            else []
        ),
        row("length (tokens)", (side["tokens"]["value"] for side in sides), share=False),
        row("truncated", (side["clip_ratio"]["value"] for side in sides)),
    ]
    title = f"held-out: {base['problems']} problems × {base['samples']} samples, 95% intervals"
    show_table(title, ("", "before", "after"), rows)
    if stage == "sft":
        say(f"Run: {path}. Next: simplerl train --model {path}")
        return
    ended = " (the token budget is used up)" if summary["ended_by"] == "token_budget" else ""
    say(
        f"{counted(summary['steps'], 'step')}{ended}, {summary['tokens']['sampled']:,} tokens sampled, "
        f"{summary['seconds']:.0f} s. Run: {path}  plot: {path / 'learning.png'}",
        f"See what happened: simplerl report {path}, or simplerl view {path.parent} for a page over all runs",
        "Try next: --shuffle-rewards (the control: nothing to learn), --model cub-llama (seldom answers in a box), or "
        "a real model: simplerl train --model DIR_OR_HUB_NAME --data FILE_OR_NAME"
        if config.model.startswith("cub-")
        else f"Try next: more steps (--output-dir {path} --resume --steps {2 * summary['steps']}), or another --seed",
    )
