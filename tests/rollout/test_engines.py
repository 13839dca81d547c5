"""Engines in processes of their own answer as one in this process, however they end, and none outlives its run."""

import contextlib
import io
import itertools
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from support import (
    SMALL,
    arguments,
    assert_same_run,
    begin_run,
    command,
    copy_policy,
    deep,
    environment,
    fingerprint,
    gone,
    run_main,
    run_small,
    small_config,
)

from simplerl.core.children import start_child
from simplerl.core.errors import ConfigError, ModelError, SimpleRLError
from simplerl.core.registry import forget, load_plugin
from simplerl.core.seeds import derive
from simplerl.core.types import Completion, VersionSpan
from simplerl.models.load import Policy
from simplerl.models.score import text_logprobs
from simplerl.rollout import engines as module
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, RolloutBackend, Sampling
from simplerl.rollout.engines import Engines
from simplerl.rollout.proof import ask_back
from simplerl.rollout.wire import StoredWeights, pack, pack_completion, receive, unpack_completion, write_weights

pytestmark = pytest.mark.engines

#: A plug-in with backends that are slow, hang, break, or swallow an update.
BACKENDS = '''
import copy, time
from pathlib import Path
import simplerl
from simplerl.rollout.native import NativeBackend
from simplerl.rollout.vllm import VLLMBackend

class Slow(NativeBackend):
    """Slow."""
    def generate(self, requests, sampling):
        for each in super().generate(requests, sampling):
            time.sleep(0.01)
            yield each

class Hangs(NativeBackend):
    """Hangs after two answers, until a file is there, which it makes."""
    def generate(self, requests, sampling):
        for number, each in enumerate(super().generate(requests, sampling)):
            if number == 2 and not Path(FILE).exists():
                Path(FILE).touch()
                time.sleep(3600)
            yield each

class Breaks(NativeBackend):
    """Breaks at every request."""
    def generate(self, requests, sampling):
        raise simplerl.core.errors.EngineLost("no such kernel")

class Cannot(NativeBackend):
    """Cannot load its model."""
    def __init__(self, *arguments, **options):
        raise simplerl.core.errors.ModelError("the model is upside down")

class Swallow:
    def sync(self, weights, version):
        if version == 2:
            self.version = version
        else:
            super().sync(weights, version)

class Swallows(Swallow, NativeBackend):
    """Swallows the second update."""
    def __init__(self, *arguments, model, **options):
        super().__init__(*arguments, model=copy.deepcopy(model), **options)

class SwallowsVLLM(Swallow, VLLMBackend):
    """Swallows the second update."""

class Forgets(NativeBackend):
    """Takes weights once; started anew it only says so."""
    def __init__(self, *arguments, model, **options):
        super().__init__(*arguments, model=copy.deepcopy(model), **options)
    def sync(self, weights, version):
        super().sync(() if Path(FILE).exists() else weights, version)
        Path(FILE).touch()

for cls in (Forgets, Slow, Hangs, Breaks, Cannot, Swallows, SwallowsVLLM):
    simplerl.register("backend", cls.__name__.lower())(cls)
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "backends.py"
    path.write_text(BACKENDS.replace("FILE", repr(str(tmp_path / "hung"))))
    yield load_plugin(str(path)).name
    forget(str(path))


def requests_of(policy: Policy, count: int = 96) -> list[Request]:
    prompts = [np.array(policy.encode(f"What is {n}+{n // 2}?\n"), dtype=np.int32) for n in range(1 + count // 8)]
    return [Request(prompt_ids=prompts[i // 8], noise_key=derive(1, "engines", i)) for i in range(count)]


def answers(backend: RolloutBackend, requests: Sequence[Request]) -> list[list[int]]:
    """Return the tokens of each answer; every request is answered once."""
    pairs = list(backend.generate(requests, Sampling(max_new_tokens=24)))
    assert sorted(index for index, _ in pairs) == list(range(len(requests)))
    return [completion.token_ids.tolist() for _, completion in sorted(pairs, key=lambda pair: pair[0])]


def pids(engines: Engines) -> list[int]:
    return [each["pid"] for each in engines.report()]


def engines_of(pid: int) -> dict[int, Path]:
    """Return the engines among a process's children, and where each has its weights from."""
    listed = subprocess.run(
        ["ps", "-wwo", "pid=,args=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    lines = [line for line in listed.stdout.splitlines() if "rollout.engines" in line]
    return {int(line.split()[0]): Path(re.search(r'"files": "([^"]+)"', line)[1]) for line in lines}


def test_a_completion_is_read_as_it_was_written() -> None:
    one = Completion(
        token_ids=np.array([5, 6], dtype=np.int32),
        logprobs=np.array([-0.1, -2.5], dtype=np.float32),
        text="a\ud800\n",
        stop_reason="eos",
        versions=(VersionSpan(3, 0, 1), VersionSpan(4, 1, 2)),
    )
    ((header, arrays),) = receive(io.BytesIO(pack(*pack_completion(one))))
    two = unpack_completion(header, arrays)
    assert (two.text, two.stop_reason, two.versions, two.entropies) == (one.text, "eos", one.versions, None)
    assert two.token_ids.tolist() == [5, 6]
    assert two.logprobs.tolist() == one.logprobs.tolist()


def test_runs_on_engines_are_runs_in_this_process(tmp_path: Path) -> None:
    """Resumed with another number of them, too: metrics, records, weights, moments, bit for bit."""
    run_small(tmp_path / "here")
    reference = fingerprint(tmp_path / "here")
    one = {"cluster": {"engines": 1}}
    run_small(tmp_path / "one", one)
    lines = reference["metrics"]
    reference["metrics"] = fingerprint(tmp_path / "one")["metrics"]
    assert_same_run(tmp_path / "one", reference)
    for here, there in zip(lines, reference["metrics"], strict=True):
        assert {**here, "policy/sync_gap": 0} == pytest.approx({**there, "policy/sync_gap": 0}, nan_ok=True, abs=1e-6)
    run_small(tmp_path / "again", deep(one, {"steps": 2}))
    run_small(tmp_path / "again", {}, resume=True)
    assert fingerprint(tmp_path / "again")["weights"] == reference["weights"]


def test_an_engine_that_is_killed_is_replaced_under_the_same_policy(cub: Callable[[str], Policy], plugin: str) -> None:
    policy, said = cub("cub-qwen"), []
    requests = requests_of(policy)
    wanted = answers(open_backend("native", policy), requests)
    engines = Engines("slow", policy, count=1, plugins=[plugin], say=said.append)
    try:
        engines.sync(policy.model.state_dict().items(), version=4)
        ask_back(engines, policy, "fp32")
        timer = threading.Timer(0.3, os.kill, (pids(engines)[0], signal.SIGKILL))
        timer.start()
        assert answers(engines, requests) == wanted
        assert "engine 0 of 1 (slow) was ended by signal 9" in said[0]
        assert engines.report()[0]["starts"] == 2
        ((_, completion),) = engines.generate(requests[:1], Sampling(max_new_tokens=4))
        assert completion.policy_version == 4
    finally:
        engines.close()
    assert not engines.files.exists()


def test_an_engine_that_is_started_anew_is_asked_back_too(cub: Callable[[str], Policy], plugin: str) -> None:
    policy = cub("cub-qwen")
    engines = Engines("forgets", policy, count=1, plugins=[plugin])
    try:
        with torch.no_grad():
            policy.model.get_input_embeddings().weight.mul_(1.5)
        engines.sync(policy.model.state_dict().items(), version=1)
        assert ask_back(engines, policy, "fp32") < 1e-5
        os.kill(pids(engines)[0], signal.SIGKILL)
        with pytest.raises(ModelError, match="started anew, does not use the weights of version 1"):
            _ = [answers(engines, requests_of(policy, 8)) for _ in range(1000)]
    finally:
        engines.close()


@pytest.mark.parametrize("killed", [False, True])
def test_engines_take_new_weights_under_running_responses(
    killed: bool, cub: Callable[[str], Policy], plugin: str
) -> None:
    """And prove it at that moment. What an engine owed that is killed is sampled anew, by the newest policy."""
    policies = [copy_policy(cub("cub-qwen")) for _ in range(3)]
    for policy in policies[1:]:
        torch.manual_seed(1)
        with torch.no_grad():
            for values in policy.model.parameters():
                values.mul_(1 + 0.03 * torch.randn_like(values))
    requests, said = requests_of(policies[0], 160), []
    engines = Engines(
        "slow", policies[0], count=2, plugins=[plugin], keep=2, in_flight=True, max_rows=32, say=said.append
    )
    told = {}
    try:
        assert not engines.exact
        for version in (0, 1):
            engines.sync(policies[version].model.state_dict().items(), version=version)
            assert ask_back(engines, policies[version], "fp32") < 1e-5
            for number, (index, completion) in enumerate(engines.generate(requests, Sampling(max_new_tokens=24))):
                assert index not in told or version
                told[index] = completion
                if number == 20:
                    engines.sync(policies[version + 1].model.state_dict().items(), version=version + 1)
                    assert ask_back(engines, policies[version + 1], "fp32") < 1e-5
                    assert {each["owes"] > 0 for each in engines.report()} == {True}, "no response had to end for it"
                    if killed:
                        os.kill(pids(engines)[0], signal.SIGKILL)
            assert sorted(told) == list(range(len(requests)))
            assert {span.version for each in told.values() for span in each.versions} == {version, version + 1}
            assert any(len(each.versions) == 2 for each in told.values())
            for index, each in told.items():
                prompt = requests[index].prompt_ids.tolist()
                for span in each.versions:
                    text = [*prompt, *each.token_ids.tolist()]
                    scored = text_logprobs(policies[span.version].model, text)[len(prompt) - 1 :]
                    own = slice(span.start, span.end)
                    np.testing.assert_allclose(each.logprobs[own], scored[own], atol=2e-4)
        assert len(said) == 2 * killed, said
    finally:
        engines.close()


@pytest.mark.slow
def test_twenty_random_kills_lose_and_change_nothing(
    cub: Callable[[str], Policy], plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of engines that answer and of engines that start; two threads ask under two policies meanwhile."""
    monkeypatch.setattr(module, "MOST_ENDS", 100)
    policy, kills = cub("cub-qwen"), 0
    requests = requests_of(policy, 400)
    wanted = answers(open_backend("native", policy), requests)
    engines = Engines("slow", policy, count=3, plugins=[plugin], keep=2)
    engines.sync(policy.model.state_dict().items(), version=1)
    ask_back(engines, policy, "fp32")
    engines.sync(policy.model.state_dict().items(), version=2)
    failed: list[BaseException] = []
    over = threading.Event()

    def ask(version: int) -> None:
        try:
            while not over.is_set():
                assert answers(engines.at(version), requests) == wanted
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(version,)) for version in (1, 2)]
    draw = random.Random(0)
    try:
        for thread in threads:
            thread.start()
        while kills < 20 and not failed:
            reports = engines.report()
            answering = [each for each in reports if each["state"] == "answers"]
            if kills % 4:
                time.sleep(draw.uniform(0.05, 1.5))
            elif not answering:  # Each fourth is one that answers.
                time.sleep(0.05)
                continue
            with contextlib.suppress(ProcessLookupError):  # It is being replaced at this moment.
                os.kill(draw.choice(reports if kills % 4 else answering)["pid"], signal.SIGKILL)
                kills += 1
        over.set()
        for thread in threads:
            thread.join(timeout=300)
        assert not failed, failed
        assert kills >= 20
        assert sum(each["starts"] for each in engines.report()) >= 15
    finally:
        engines.close()
    assert all(gone(pid) for pid in pids(engines))


def test_an_engine_that_hangs_is_replaced(cub: Callable[[str], Policy], plugin: str) -> None:
    policy, said = cub("cub-qwen"), []
    requests = requests_of(policy, 16)
    engines = Engines("hangs", policy, count=1, plugins=[plugin], say=said.append, timeout_s=2.0)
    try:
        assert answers(engines, requests) == answers(open_backend("native", policy), requests)
    finally:
        engines.close()
    assert "engine 0 has given no sign for 2 s and owes answers (cluster.timeout_s): it is ended" in said


def test_an_engine_that_breaks_again_and_again_ends_the_run_with_its_last_lines(
    cub: Callable[[str], Policy], plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it tells of the policy, because it was started anew, is no answer."""
    monkeypatch.setattr(module, "MOST_ENDS", 2)
    policy = cub("cub-qwen")
    engines = Engines("breaks", policy, count=1, plugins=[plugin])
    try:
        ask_back(engines, policy, "fp32")
        with pytest.raises(SimpleRLError, match=r"(?s)it said:.*: no such kernel.*2 ends of this engine in a row"):
            answers(engines, requests_of(policy, 8))
        with pytest.raises(SimpleRLError, match="no such kernel"):
            answers(engines, requests_of(policy, 8))
    finally:
        engines.close()


def test_engines_that_end_together_while_nobody_asks_come_back(
    cub: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a node that ends: one end each. And no two threads send to an engine at once."""
    monkeypatch.setattr(module, "MOST_ENDS", 2)
    policy, sent, who = cub("cub-qwen"), module.send, set[tuple[Any, int]]()

    def note(connection: Any, *message: Any) -> None:
        who.add((connection, threading.get_ident()))
        sent(connection, *message)

    engines = Engines("native", policy, count=2)
    monkeypatch.setattr(module, "send", note)
    try:
        for pid in pids(engines):
            os.kill(pid, signal.SIGKILL)
        for version in (1, 2):
            engines.sync(policy.model.state_dict().items(), version)
            assert ask_back(engines, policy, "fp32") < 1e-5
        assert [each["starts"] for each in engines.report()] == [2, 2]
        assert len(who) == len({connection for connection, _ in who}) == 4
    finally:
        engines.close()


class Late:
    """A cluster whose processes are of this machine and call when they may."""

    def __init__(self) -> None:
        self.may, self.begun = threading.Event(), list[Any]()
        self.may.set()

    def reserve(self, count: int, *_: Any) -> list[Any]:
        return [None] * count

    def begin(self, serve: Any, settings: Any, said: Path, environment: Any, place: Any) -> Any:
        run = "import json, os, socket, sys; from simplerl.rollout.engines import be_engine_elsewhere as be; "
        process, connection = start_child(
            ("-c", f"{run}be(socket.socket(fileno=os.dup(0)), json.loads(sys.argv[1]))"), settings, said, environment
        )
        process.connection = connection
        self.begun.append(process)
        return process

    def called(self, process: Any) -> Any:
        while process.poll() is None and not self.may.wait(0.1):
            pass
        return process.connection


@pytest.mark.parametrize("count", [1, 2])
def test_nobody_waits_for_an_engine_that_is_being_started_but_who_needs_it(
    count: int, cub: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is given meanwhile it is asked once, when it is there; a second one answers at once."""
    policy, cluster, said, sent, asked = cub("cub-qwen"), Late(), [], module.send, list[int]()
    requests = requests_of(policy, 32)
    wanted = answers(open_backend("native", policy), requests)
    engines = Engines("native", policy, count=count, cluster=cast(Any, cluster), say=said.append)
    told: list[list[list[int]]] = []
    asking = threading.Thread(target=lambda: told.append(answers(engines, requests)))

    def note(connection: Any, header: dict[str, Any], arrays: Any = None) -> None:
        asked.extend(header.get("keys", ()))
        sent(connection, header, arrays)

    monkeypatch.setattr(module, "send", note)
    try:
        engines.sync(policy.model.state_dict().items(), version=1)
        ask_back(engines, policy, "fp32")
        cluster.may.clear()
        os.kill(pids(engines)[0], signal.SIGKILL)
        while len(cluster.begun) == count:
            time.sleep(0.02)
        began = time.monotonic()
        assert [each["state"] for each in engines.report()] == ["starts", "waits"][:count]
        engines.sync(policy.model.state_dict().items(), version=2)
        asking.start()
        if count == 2:
            asking.join(60)
            assert told == [wanted]
        else:
            while not engines.report()[0]["owes"]:
                time.sleep(0.02)
            assert not asked
        assert time.monotonic() - began < 60
        cluster.may.set()
        asking.join(300)
        assert told == [wanted]
        assert sorted(asked) == sorted(request.noise_key for request in requests), "each was asked once"
        assert ask_back(engines, policy, "fp32") < 1e-5, "every engine has the weights"
        assert [each["starts"] for each in engines.report()] == [2, 1][:count]
        cluster.may.clear()
        os.kill(pids(engines)[0], signal.SIGKILL)
        while len(cluster.begun) == count + 1:
            time.sleep(0.02)
        began = time.monotonic()
    finally:
        engines.close()
    assert time.monotonic() - began < 20, "it ends, too, while an engine is being started"
    assert all(gone(process.pid) for process in cluster.begun)
    assert not any(thread.is_alive() for thread in engines._threads)
    assert len(said) == 2


def test_who_ends_an_engine_does_not_hang_up_on_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has been started anew when its process has been seen to end: on this machine it would leave, and take
    everybody's weights with it."""
    engine, (old, there), (new, _other) = module._Engine(0), socket.socketpair(), socket.socketpair()
    engine.process, engine.connection = True, old
    monkeypatch.setattr(module, "_kill", lambda process: setattr(engine, "connection", new))
    engine.kill()
    assert there.recv(1) == b""
    new.sendall(b"it goes on")


@pytest.mark.timeout(60)
def test_nobody_waits_for_an_engine_that_takes_nothing(tmp_path: Path) -> None:
    """One on another machine that hangs, with its connection full."""
    write_weights(tmp_path / "weights", [("w", torch.zeros(2**22))])
    engines = object.__new__(Engines)
    own = {"files": tmp_path, "version": 1, "_cluster": True, "_published": {1: "weights"}, "_in_flight": False}
    vars(engines).update(own, _lock=threading.RLock(), _numbers=itertools.count(1), _calls={}, _error=None)
    pairs, engines._engines = [socket.socketpair() for _ in range(2)], [module._Engine(number) for number in range(2)]
    threads = []
    for engine, (connection, _) in zip(engines._engines, pairs, strict=True):
        engine.connection, engine.ready = connection, True
        threads.append(threading.Thread(target=engines._deliver, args=(connection, engine.outbox), daemon=True))
        threads[-1].start()
    call = engines._call(1, Sampling(max_new_tokens=1))
    requests = [Request(prompt_ids=np.array([number], np.int32), noise_key=number) for number in range(2)]
    engines._deal(call, [module._Task(call, number, request) for number, request in enumerate(requests)])
    heard = itertools.islice(receive(pairs[1][1].makefile("rb")), 2)
    assert [header.get("name", header["kind"]) for header, _ in heard] == ["weights/0000.safetensors", "generate"]
    assert [each["owes"] for each in engines.report()] == [1, 1]
    for engine, thread in zip(engines._engines, threads, strict=True):
        engine.hang_up()
        thread.join()


@pytest.mark.vllm
@pytest.mark.skipif(not find_spec("vllm"), reason="needs vLLM: python tools/engines.py")
@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_vllm_that_holds_weights_in_bf16_is_sent_them_so(size: int, cub: Callable[[str], Policy]) -> None:
    policy = cub("cub-llama")
    requests, told = requests_of(policy, 8), []
    engines = Engines("vllm", policy, count=1, precision="bf16", tensor_parallel=size)
    try:
        for version, kind in ((1, torch.bfloat16), (2, torch.float32)):
            weights = ((name, 1.03 * values) for name, values in policy.model.state_dict().items())
            engines.sync(weights, version=version)
            assert {values.dtype for _, values in StoredWeights(engines.path_of(version))} == {kind}
            pairs = sorted(engines.generate(requests, Sampling(max_new_tokens=24)), key=lambda pair: pair[0])
            told.append([(one.token_ids.tolist(), one.logprobs.tolist()) for _, one in pairs])
            engines._halved = frozenset()
    finally:
        engines.close()
    assert told[0] == told[1]


def test_an_engine_that_cannot_be_started_anew_ends_the_run(
    cub: Callable[[str], Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = cub("cub-qwen")
    engines = Engines("native", policy, count=1)
    try:
        monkeypatch.setattr(module, "start_child", lambda *arguments: 1 / 0)
        os.kill(pids(engines)[0], signal.SIGKILL)
        with pytest.raises(SimpleRLError, match="engine 0 cannot be started or heard: ZeroDivisionError"):
            answers(engines, requests_of(policy, 8))
    finally:
        engines.close()


def test_an_engine_that_cannot_load_ends_with_its_last_lines(tmp_path: Path, plugin: str, capsys) -> None:
    over = deep(SMALL, {"rollout": {"backend": "cannot"}, "cluster": {"engines": 2}})
    line = [*arguments(over), "--plugin", plugin, "--output-dir", str(tmp_path / "run")]
    code, _, error = run_main(capsys, "train", "cub", *line)
    assert code == 2
    assert "(cannot) ended with exit code 2; it said:\n  error: the model is upside down" in error
    assert not (tmp_path / "run").exists()
    assert not engines_of(os.getpid())


def test_errors_of_requests_are_raised_here(cub: Callable[[str], Policy]) -> None:
    policy = cub("cub-qwen")
    engines = Engines("native", policy, count=1)
    try:
        fill = np.resize(requests_of(policy, 1)[0].prompt_ids, policy.context_length)
        with pytest.raises(ModelError, match="leaves no room"):
            answers(engines, [Request(prompt_ids=fill, noise_key=1)])
        assert answers(engines, requests_of(policy, 8))
    finally:
        engines.close()


@pytest.mark.parametrize(
    "rollout",
    [
        {"backend": "swallows"},
        {"backend": "swallows", "lag": 1},  # No further step is sampled by it, but step 2 is evaluated by it.
        {"backend": "swallows", "refresh": "in_flight", "lag": 1},
        pytest.param({"backend": "swallowsvllm", "refresh": "in_flight", "lag": 1}, marks=pytest.mark.vllm),
    ],
    ids=str,
)
def test_a_swallowed_update_ends_the_run_at_its_step(rollout, tmp_path: Path, plugin: str) -> None:
    over = {
        "plugins": [plugin],
        "cluster": {"engines": 1},
        "algorithm": {"correction": "truncated"},
        "rollout": rollout,
    }
    with pytest.raises(ModelError, match=r"does not use the weights that it was given \(version 2\)"):
        run_small(tmp_path / "run", over)


def test_no_engine_outlives_its_controller(tmp_path: Path) -> None:
    process = begin_run(tmp_path / "killed", {"cluster": {"engines": 2}, "steps": 500})
    engines = engines_of(process.pid)
    assert len(engines) == 2
    assert all(path.exists() for path in engines.values())
    process.kill()
    process.communicate()
    assert all(gone(pid) for pid in engines), "an engine outlives its controller"
    assert not any(path.exists() for path in engines.values()), "its weights are left in memory"


def test_a_number_of_engines_below_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.engines"):
        small_config({"cluster": {"engines": -1}})


@pytest.mark.parametrize(("size", "what"), [(2, "the model cannot be handed"), (6, "weights cannot be handed")])
def test_shared_memory_that_is_full_is_said_and_leaves_nothing(size: int, what: str, tmp_path: Path) -> None:
    """A `/dev/shm` of its own of so many MiB: too few for the model of 4, or for new weights beside it."""
    mount = f"mount -t tmpfs -o size={size}m tmpfs /dev/shm"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("a process may not have a /dev/shm of its own here")
    over = deep(SMALL, {"cluster": {"engines": 1}, "evaluation": {"every": 0}})
    line = shlex.join(command("train", "cub", *arguments(over), "--output-dir", str(tmp_path / "run")))
    inside = ["unshare", "-rm", "sh", "-c", f"{mount}; {line}; code=$?; echo left: $(ls -A /dev/shm); exit $code"]
    mark = {"SIMPLERL_TEST_MARK": str(tmp_path)}
    done = subprocess.run(inside, env=environment() | mark, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    assert what in done.stderr
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.endswith("left:\n")
    for process in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            assert str(tmp_path).encode() not in process.read_bytes(), "an engine is left"
