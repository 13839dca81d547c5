"""Run jobs as child processes, a few side by side. A child that fails is noted, and the others go on."""

import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TextIO

from simplerl.core.errors import RunError
from simplerl.models.guards import stop_on_interrupt
from simplerl.runs.files import LockedDirectory, writing
from simplerl.runs.run import Run
from simplerl.studies.plan import Job, child_environment

#: Seconds between two looks at the children.
PAUSE = 0.1
#: Seconds that children have to end their step and save, once they were asked to stop.
PATIENCE = 120.0


class Watcher(Protocol):
    """Whoever watches: is told how a run ended, and how many are done, those under way (`note`) by their share."""

    def say(self, message: str) -> None: ...
    def move(self, completed: float | None, note: str) -> None: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class _Child:
    job: Job
    process: subprocess.Popen[Any]
    log: TextIO
    began: float


def execute(jobs: Sequence[Job], *, parallel: int, watch: Watcher) -> dict[str, str]:
    """Run what is not done yet, at most `parallel` at a time. Return job's name → message of those that failed.

    Ctrl-C and SIGTERM are passed on, so that every child saves where it is, and then raised as KeyboardInterrupt.
    Raises RunError, before anything runs, where another process is writing to one of the runs.
    """
    waiting = [job for job in jobs if job.state != "done"]
    if busy := [str(job.path) for job in waiting if LockedDirectory(job.path).held]:
        raise RunError(
            f"another process is writing to {', '.join(busy)}. A command that was killed cannot stop its runs: "
            "they go on to their end. Wait for them, or end them, and give the command again"
        )
    done, failed, running = len(jobs) - len(waiting), dict[str, str](), list[_Child]()
    watch.move(done, "")
    with stop_on_interrupt() as stopped:
        try:
            while waiting or running:
                for lost in [job for job in waiting if job.after in failed]:
                    waiting.remove(lost)
                    done += 1
                    failed[lost.name] = f"not run, because it begins from {lost.after}"
                    watch.say(f"[{done}/{len(jobs)}] {lost.name}: {failed[lost.name]}")
                while len(running) < parallel and (job := _next(waiting, running)):
                    waiting.remove(job)
                    running.append(_start(job))
                time.sleep(PAUSE)
                if stopped():
                    raise KeyboardInterrupt
                for child in [child for child in running if child.process.poll() is not None]:
                    running.remove(child)
                    done, seconds = done + 1, time.monotonic() - child.began
                    if error := _end(child):
                        failed[child.job.name] = error
                    how = f"failed after {seconds:.0f} s: {error}" if error else f"done in {seconds:.0f} s"
                    watch.say(f"[{done}/{len(jobs)}] {child.job.name}: {how}")
                shares = [share_done(child.job) for child in running]
                watch.move(done + sum(shares), "; ".join(child.job.name for child in running))
        finally:
            _stop(running)
    return failed


def _next(waiting: Sequence[Job], running: Sequence[_Child]) -> Job | None:
    """Return the first job that waits for no other; None if there is none."""
    missing = {job.name for job in waiting} | {child.job.name for child in running}
    return next((job for job in waiting if job.after not in missing), None)


def _start(job: Job) -> _Child:
    with writing(job.log):
        job.log.parent.mkdir(parents=True, exist_ok=True)
        log = job.log.open("a", encoding="utf-8")
    # A session of its own: Ctrl-C reaches the child through us, once, so that it saves before it stops.
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(job.command, **streams, env=child_environment(), start_new_session=True)
    return _Child(job=job, process=process, log=log, began=time.monotonic())


def _end(child: _Child) -> str:
    """Return what went wrong; empty if nothing did."""
    child.log.close()
    code = child.process.returncode
    if code == 0:
        return ""
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    lines = [line for line in child.job.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith(("error:", "internal error:"))]
    told = lines[errors[-1] :] if errors else lines[-3:]
    return f"{how}: {' '.join(told[:4]) or 'it said nothing'} (log: {child.job.log})"


def _stop(running: Sequence[_Child]) -> None:
    """Ask the children to save and stop, and wait; one that does not is killed."""
    for child in running:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + PATIENCE
    for child in running:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.process.kill()
            child.process.wait()
        child.log.close()


def share_done(job: Job) -> float:
    """Return how much of a run is done, from what it has written so far."""
    try:
        run = Run(job.path)
    except RunError:  # It has not begun to write.
        return 0.0
    by_budget = run.history("tokens/sampled")[1].sum() / job.token_budget if job.token_budget else 0.0
    return float(min(1.0, max(run.last_step / job.steps, by_budget)))
