"""The pool under fault injection: workers killed, stopped and out of memory; every verdict once, and right."""

from __future__ import annotations

import _thread
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

import misbehaving_worker
import psutil
import pytest

from simplerl.core.errors import SimpleRLError
from simplerl.core.types import Verdict
from simplerl.verify import VerifierPool, equal, is_correct, verify, verify_many
from simplerl.verify import pool as module

SOURCE = Path(__file__).resolve().parents[2] / "src"
EASY = [(r"\boxed{5}", "5", True), (r"\boxed{6}", "5", False), (r"\boxed{0.5}", r"\frac12", True), ("none", "5", False)]
HARD = [
    (r"\boxed{\frac{\sqrt{3}}{3}}", r"\frac{1}{\sqrt3}", True),
    (r"\boxed{(x+%d)^2}", r"x^2+%d", False),
    (r"\boxed{\sqrt{%d}}", r"\sqrt{%d}+1", False),
    (r"\boxed{2\sin(%d x)\cos(%d x)}", r"\sin(2\cdot %d x)", True),
]
PLEASE = {act: expression for expression, act in misbehaving_worker.ACTS.items()}


@pytest.fixture
def pool():
    with VerifierPool(workers=2, timeout_s=5) as pool:
        yield pool


@pytest.fixture
def misbehaving(monkeypatch):
    monkeypatch.setattr(module, "COMMAND", (str(Path(misbehaving_worker.__file__)),))


def workers_of(pool: VerifierPool) -> list[psutil.Process]:
    """The processes that run now: one may end, and be collected, while it is looked for."""
    running = []
    for process in [worker.process for worker in pool._workers]:
        with contextlib.suppress(psutil.NoSuchProcess):
            running += [psutil.Process(process.pid)] if process and process.poll() is None else []
    return running


def judged(pool: VerifierPool, rows: dict[str, tuple[str, str]]) -> dict[str, Verdict]:
    verdicts = {key: pool.submit(rf"\boxed{{{answer}}}", gold) for key, (answer, gold) in rows.items()}
    return {key: verdict.result() for key, verdict in verdicts.items()}


def mixed(count: int, seed: int) -> list[tuple[str, str, bool]]:
    rng = random.Random(seed)
    found = []
    for i in range(count):
        if rng.random() < 0.01:
            found.append((rf"\boxed{{{i}^{{9^{{9^{{9^9}}}}}}}}", rf"\sqrt{{{i + 2}}}", False))
        elif rng.random() < 0.3:
            response, gold, correct = rng.choice(HARD)
            found.append((response.replace("%d", str(i + 2)), gold.replace("%d", str(i + 2)), correct))
        else:
            found.append(rng.choice(EASY))
    return found


def test_simple_answers_start_no_process():
    with VerifierPool() as pool:
        verdicts = pool.verify_many([(r"\boxed{1,000}", "1000"), (r"\boxed{(1,2)}", "(1, 2)"), ("", "1")])
        assert [verdict.status for verdict in verdicts] == ["correct", "correct", "no_answer"]
        assert not workers_of(pool)


def test_verify_many_keeps_the_order_and_streams_its_input(pool):
    seen = []

    def pairs():
        for i in range(60):
            seen.append(i)
            yield (rf"\boxed{{\sqrt{{{i + 2}}}}}", rf"\sqrt{{{i + 2 + i % 2}}}")

    verdicts = pool.verify_many(pairs())
    assert seen == list(range(60))
    assert [verdict.correct for verdict in verdicts] == [i % 2 == 0 for i in range(60)]


def test_threads_that_share_a_pool_get_their_own_verdicts(pool):
    def ask(seed: int) -> bool:
        rows = mixed(100, seed)
        verdicts = [pool.submit(response, gold) for response, gold, _ in rows]
        return [verdict.result().correct for verdict in verdicts] == [correct for *_, correct in rows]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(ask, range(8))) == [True] * 8


def test_workers_killed_and_stopped_at_random_lose_nothing(pool):
    rng = random.Random(7)
    rows = mixed(2_000, seed=2)
    verdicts: dict[Future[Verdict], int] = {}

    def harm() -> None:
        for worker in workers_of(pool):
            if rng.random() < 0.5:
                with contextlib.suppress(psutil.NoSuchProcess):
                    worker.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSEGV]))

    for i, (response, gold, _) in enumerate(rows):
        verdicts[pool.submit(response, gold)] = i
        if i % 100 == 50:
            harm()
    for count, verdict in enumerate(as_completed(verdicts), start=1):
        assert verdict.result().correct == rows[verdicts[verdict]][2]
        if count % 150 == 0:
            harm()
    assert count == len(rows)
    assert pool.ended["died"] > 3


def test_a_stopped_worker_is_replaced_and_its_answer_judged():
    with VerifierPool(workers=1, timeout_s=0.5) as pool:
        assert all(worker.ensure_process() for worker in pool._workers)
        (worker,) = workers_of(pool)
        worker.suspend()
        (verdict,) = pool.verify_many([(r"\boxed{\frac{\sqrt3}{3}}", r"\frac{1}{\sqrt3}")])
        assert verdict.correct
        assert not worker.is_running()


def test_workers_killed_while_idle_are_replaced(pool):
    assert all(worker.ensure_process() for worker in pool._workers)
    for worker in workers_of(pool):
        worker.kill()
    time.sleep(0.2)
    verdicts = pool.verify_many([(r"\boxed{2\sqrt2}", r"\sqrt8"), (r"\boxed{3\sqrt2}", r"\sqrt8")])
    assert [verdict.correct for verdict in verdicts] == [True, False]
    assert not pool.ended["killed"]


def test_a_stopped_worker_cannot_block_the_pool_by_not_reading():
    with VerifierPool(workers=1, timeout_s=0.5) as pool:
        assert all(worker.ensure_process() for worker in pool._workers)
        workers_of(pool)[0].suspend()
        question = "What is it? " * 200_000  # more than a socket holds
        (verdict,) = pool.verify_many([(r"\boxed{2\sqrt2}", r"\sqrt8", question)])
    assert verdict.correct


def test_an_answer_that_computes_too_long_is_killed_and_wrong_where_the_gold_is_harmless(misbehaving):
    with VerifierPool(workers=1, timeout_s=0.6) as pool:
        start = time.perf_counter()
        rows = {
            "hang": (PLEASE["spin"], r"\sqrt2"),
            "next": (r"2\sqrt2", r"\sqrt8"),
        }
        verdicts = judged(pool, rows)
    assert (verdicts["hang"].status, verdicts["hang"].rule) == ("wrong", "limits")
    assert verdicts["next"].correct
    assert pool.ended["killed"] == 1
    assert time.perf_counter() - start < 60  # the machine may be busy; without a kill it would never end


def test_a_gold_that_computes_too_long_by_itself_is_a_timeout(misbehaving):
    with VerifierPool(workers=1, timeout_s=0.6) as pool:
        rows = {
            "hang": (PLEASE["spin"], PLEASE["spin"]),
            "other": (PLEASE["spin"] + "+1", PLEASE["spin"]),
        }
        verdicts = judged(pool, rows)
    assert verdicts["hang"].correct  # the same text needs no computation
    assert verdicts["other"].status == "timeout"


def test_the_memory_limit_is_the_answers_own_fault_beside_a_harmless_gold(misbehaving):
    with VerifierPool(workers=1, timeout_s=20) as pool:
        rows = {
            "fat": (PLEASE["memory"], r"\sqrt2"),
            "number": (PLEASE["memory"], "5"),
            "next": (r"2\sqrt2", r"\sqrt8"),
        }
        verdicts = judged(pool, rows)
    for key in ("fat", "number"):
        assert (verdicts[key].status, verdicts[key].rule) == ("wrong", "limits")
    assert verdicts["next"].correct


def test_workers_cannot_write_connect_or_run(misbehaving):
    with VerifierPool(workers=1) as pool:
        verdicts = judged(pool, {act: (PLEASE[act], r"\sqrt2") for act in ("write", "connect", "run")})
    for act in ("write", "connect", "run"):
        assert verdicts[act].status == "error"
        assert "PermissionError" in verdicts[act].detail


@pytest.mark.parametrize("act", ["noise", "nonsense"])
def test_what_a_worker_prints_is_not_a_verdict(misbehaving, act):
    with VerifierPool(workers=1) as pool:
        rows = {
            act: (PLEASE[act], r"\sqrt2"),
            "next": (r"2\sqrt2", r"\sqrt8"),
        }
        verdicts = judged(pool, rows)
    assert verdicts[act].status == ("wrong" if act == "noise" else "error") or not verdicts[act].correct
    assert verdicts["next"].correct


def test_workers_that_do_not_start_are_an_error_and_not_a_wrong_answer(monkeypatch):
    monkeypatch.setattr(module, "COMMAND", ("-c", "raise SystemExit(1)"))
    with VerifierPool(workers=1) as pool:
        (verdict,) = pool.verify_many([(r"\boxed{2\sqrt2}", r"\sqrt8")])
    assert (verdict.status, verdict.rule) == ("error", "crash")
    assert "does not start" in verdict.detail


def test_an_answer_that_always_kills_its_worker_is_an_error_in_the_end(misbehaving):
    with VerifierPool(workers=1) as pool:
        rows = {
            "exit": (PLEASE["exit"], r"\sqrt2"),
            "next": (r"2\sqrt2", r"\sqrt8"),
        }
        verdicts = judged(pool, rows)
    assert (verdicts["exit"].status, verdicts["exit"].rule) == ("error", "crash")
    assert verdicts["next"].correct


def test_close_leaves_no_process_behind():
    pool = VerifierPool(workers=2)
    assert all(worker.ensure_process() for worker in pool._workers)
    processes = workers_of(pool)
    assert len(processes) == 2
    pool.close()
    _, alive = psutil.wait_procs(processes, timeout=3)
    assert not alive


IDLE = "time.sleep(60)"
SPIN = rf"\boxed{{{PLEASE['spin']}}}"
BUSY = f"pool.submit({SPIN!r}, '1+x'); {IDLE}"


@pytest.mark.parametrize("last", [IDLE, BUSY])
def test_everything_dies_with_the_parent(last):
    script = Path(misbehaving_worker.__file__)
    code = (
        "import time; from simplerl.verify import VerifierPool, pool as module;"
        f"module.COMMAND = ({str(script)!r},); pool = VerifierPool(workers=2, timeout_s=60);"
        "[worker.ensure_process() for worker in pool._workers];"
        f"print(*(worker.process.pid for worker in pool._workers), flush=True); {last}"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(SOURCE)}
    )
    processes = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(processes) == 2
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(processes, timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_importing_the_verifier_is_light():
    heavy = ("torch", "sympy", "math_verify", "mpmath")
    code = f"import sys, simplerl.verify; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_bad_call_says_what_is_wrong():
    with pytest.raises(SimpleRLError, match="workers"):
        VerifierPool(workers=0)
    with pytest.raises(SimpleRLError, match="did you mean"):
        VerifierPool(policy="boxes")
    pool = VerifierPool()
    pool.close()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(r"\boxed{1}", "1")


def test_a_forked_child_gets_workers_of_its_own():
    code = r"""
import os
from simplerl.verify import verify
assert verify(r"\boxed{2\sqrt2}", r"\sqrt8").correct
pid = os.fork()
good = verify(r"\boxed{2\sqrt3}", r"\sqrt{12}").correct
if not pid:
    os._exit(0 if good else 1)
assert os.waitpid(pid, 0)[1] == 0 and good
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=True, timeout=60)


@pytest.mark.slow
def test_ten_thousand_requests_with_bombs_and_random_kills():
    rng = random.Random(11)
    rows = mixed(10_000, seed=3)
    verdicts = []
    with VerifierPool(workers=2, timeout_s=2) as pool:
        for i, (response, gold, _) in enumerate(rows):
            verdicts.append(pool.submit(response, gold))
            if i % 200 == 0:
                for worker in workers_of(pool):
                    worker.send_signal(rng.choice([signal.SIGKILL, signal.SIGSTOP]))
        assert [verdict.result().correct for verdict in verdicts] == [row[2] for row in rows]


def slow_pairs_then(error):
    yield r"\boxed{(x+1)^2}", "x^2+2x+1"
    yield r"\boxed{2\sqrt2}", r"\sqrt{8}"
    raise error


def test_an_interrupted_verify_many_leaves_nothing_for_the_next_call(pool):
    mine = pool.submit(r"\boxed{2\sqrt3}", r"\sqrt{12}")
    with pytest.raises(KeyboardInterrupt):
        pool.verify_many(slow_pairs_then(KeyboardInterrupt()))
    (verdict,) = pool.verify_many([(r"\boxed{2\sqrt3}", r"\sqrt{18}")])
    assert not verdict.correct
    assert mine.result().correct


def test_a_call_within_a_call_gets_its_own_verdicts(pool):
    def pairs():
        yield r"\boxed{2\sqrt2}", r"\sqrt{8}"
        assert [v.correct for v in pool.verify_many([(r"\boxed{3\sqrt2}", r"\sqrt{8}")])] == [False]
        yield r"\boxed{4\sqrt2}", r"\sqrt{8}"

    assert [verdict.correct for verdict in pool.verify_many(pairs())] == [True, False]


def test_an_interrupted_verify_does_not_answer_the_next_one(misbehaving):
    with VerifierPool(workers=1, timeout_s=0.6) as pool:
        threading.Timer(0.5, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            pool.judge(PLEASE["spin"], r"\sqrt2")
        assert not pool.judge(r"\sqrt{50}", r"6\sqrt2").correct
        assert pool.judge(r"x+\sqrt{2}", r"\sqrt2+x").correct


def test_an_answer_cannot_choose_a_timeout_beside_a_plain_number(misbehaving):
    with VerifierPool(workers=1, timeout_s=0.6) as pool:
        verdict = judged(pool, {"hang": (PLEASE["spin"], "5")})["hang"]
    assert (verdict.status, verdict.rule) == ("wrong", "limits")


LOGARITHMS = "10^{3900}+" + "+".join(rf"\ln {i}" for i in range(2, 90))


@pytest.mark.parametrize("bomb", [LOGARITHMS, r"\Re((x+y+z)^{999})", r"\Re((x+y+z)^{60})", r"10^{3000}+(\sqrt2)!"])
def test_work_is_counted_so_that_a_bomb_is_wrong_without_a_kill(bomb):
    with VerifierPool(workers=1, timeout_s=10) as pool:
        verdicts = judged(pool, {gold: (bomb, gold) for gold in (r"\sqrt2", "x+1", r"(1,\pi)")})
        own = judged(pool, {"gold": (r"\sqrt2", LOGARITHMS)})["gold"]
    assert {verdict.status for verdict in verdicts.values()} == {"wrong"}
    assert not pool.ended
    assert (own.status, own.rule) == ("unjudgeable", "gold")


def test_pairs_and_triples_are_judged_and_the_cache_knows_the_question(pool):
    rows = [(r"\boxed{7+13}", "20", "What is 7+13?"), (r"\boxed{7+13}", "20"), (r"\boxed{7+13}", "20", "What is 8+12?")]
    assert [verdict.rule for verdict in pool.verify_many(rows)] == ["restates", "unfinished", "unfinished"]
    assert [verdict.rule for verdict in verify_many(rows)] == ["restates", "unfinished", "unfinished"]


def test_a_lenient_pool_counts_them_as_right_and_names_the_rule():
    rows = [(r"\boxed{7+13}", "20", "What is 7+13?"), (r"\boxed{7+13}", "20"), (r"\boxed{7+14}", "20")]
    with VerifierPool(workers=1, lenient=("unfinished",)) as pool:
        assert [(v.correct, v.rule) for v in pool.verify_many(rows)][:2] == [(False, "restates"), (True, "unfinished")]
    with VerifierPool(workers=1, lenient=("unfinished", "restates")) as pool:
        assert [verdict.correct for verdict in pool.verify_many(rows)] == [True, True, False]
    with pytest.raises(SimpleRLError, match="lenient"):
        VerifierPool(lenient=("wrong",))


def test_values_are_compared_whether_finished_or_not():
    assert equal(r"\sqrt8", r"2\sqrt2")
    assert is_correct("20", r"\boxed{7+13}")
    assert verify(r"\boxed{7+13}", "20").rule == "unfinished"
    assert verify(r"\boxed{7+13}", "20", question="What is 7+13?").rule == "restates"


def test_a_fault_in_the_calling_process_is_a_verdict_and_not_an_exception(monkeypatch, misbehaving):
    def broken(answer, gold, *, question=None):
        raise ZeroDivisionError("a fault of the verifier")

    monkeypatch.setattr(module, "quick", broken)
    with VerifierPool(workers=1) as pool:
        verdicts = pool.verify_many([(r"\boxed{2}", "2"), (rf"\boxed{{{PLEASE['write']}}}", r"\sqrt2")])
    assert [verdict.status for verdict in verdicts] == ["correct", "error"]
