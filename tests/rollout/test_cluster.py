"""Engines that Ray places answer as those on this machine; one that is killed is replaced. Bad addresses are named."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support import SMALL, arguments, command, deep, environment, gone, run_main

from simplerl.core.children import last_words
from simplerl.core.errors import ConfigError, SimpleRLError
from simplerl.core.seeds import derive
from simplerl.models.load import Policy
from simplerl.rollout import cluster as cluster_module
from simplerl.rollout import engines as engines_module
from simplerl.rollout import open_backend
from simplerl.rollout.backend import Request, Sampling
from simplerl.rollout.engines import Engines
from simplerl.rollout.proof import ask_back
from simplerl.train import ranks as ranks_module

CANNOT = """
import simplerl
from simplerl.rollout.native import NativeBackend

@simplerl.register("backend", "cannot")
class Cannot(NativeBackend):
    '''Cannot load its model.'''
    def __init__(self, *arguments, **options):
        raise simplerl.core.errors.ModelError("the model is upside down")
"""
needs_ray = [pytest.mark.engines, pytest.mark.skipif(not find_spec("ray"), reason="needs Ray: python tools/engines.py")]


def train_at(address: str, path: Path, capsys, engines: int = 1) -> tuple[int, str]:
    over = deep(SMALL, {"cluster": {"engines": engines, "address": address}})
    code, _, error = run_main(capsys, "train", "cub", *arguments(over), "--output-dir", str(path))
    assert not path.exists()
    return code, error


def requests_of(policy: Policy, count: int) -> list[Request]:
    prompts = [np.array(policy.encode(f"What is {n}+1?\n"), dtype=np.int32) for n in range(8)]
    return [Request(prompt_ids=prompts[i % 8], noise_key=derive(1, "ray", i)) for i in range(count)]


def test_without_ray_the_message_is_the_line_to_type(monkeypatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    code, error = train_at("auto", tmp_path / "run", capsys)
    assert code == 2
    assert "pip install 'simplerl[ray]'" in error


def test_an_address_without_engines_is_refused(tmp_path: Path, capsys) -> None:
    code, error = train_at("auto", tmp_path / "run", capsys, engines=0)
    assert code == 2
    assert "cluster.address = 'auto' places engines and ranks, and there are none" in error


class TestRay:
    pytestmark = needs_ray

    def test_a_cluster_that_does_not_answer_is_named(self, tmp_path: Path, capsys) -> None:
        code, error = train_at("127.0.0.1:9", tmp_path / "run", capsys)
        assert code == 2
        assert "cluster.address = '127.0.0.1:9' does not answer" in error

    @pytest.mark.parametrize(("answer", "said"), [(b"", "timed out"), (b"HTTP/1.0 400", "something else than Ray")])
    def test_a_port_that_somebody_else_uses_is_named(self, answer, said, tmp_path: Path, capfd, monkeypatch) -> None:
        """Ray itself would try for minutes, with lines of its own."""
        monkeypatch.setattr(cluster_module, "REACH_S", 1.0)
        with socket.create_server(("127.0.0.1", 0)) as server:

            def serve() -> None:
                there, _ = server.accept()
                there.sendall(answer)
                time.sleep(3)

            threading.Thread(target=serve, daemon=True).start()
            address = f"127.0.0.1:{server.getsockname()[1]}"
            code, error = train_at(address, tmp_path / "run", capfd)
        assert code == 2
        assert error.startswith(f"error: cluster.address = '{address}' does not answer: {said}")

    def test_engines_answer_are_killed_and_answer_again(self, cub: Callable[[str], Policy], monkeypatch, capfd) -> None:
        """And a machine without the package is one message at once. Ray says of those that are closed nothing."""
        from simplerl.rollout.cluster import Cluster

        policy, said = cub("cub-qwen"), []
        requests = requests_of(policy, 64)
        wanted = dict(open_backend("native", policy).generate(requests, Sampling(max_new_tokens=24)))
        cluster = Cluster("local", 0, say=said.append)
        engines = Engines("native", policy, count=1, say=said.append, cluster=cluster)
        try:
            for version in (1, 2):
                engines.sync(policy.model.state_dict().items(), version)
                assert ask_back(engines, policy, "fp32") < 2e-4
                told = dict(engines.generate(requests, Sampling(max_new_tokens=24)))
                assert {each.policy_version for each in told.values()} == {version}
                assert all(told[i].token_ids.tolist() == wanted[i].token_ids.tolist() for i in wanted)
                if version == 1:
                    pid = engines.report()[0]["pid"]
                    os.kill(pid, signal.SIGKILL)
                    assert gone(pid)
            assert "engine 0 of 1 (native) was ended by signal 9; it is started anew" in said[0]
            monkeypatch.setattr(sys, "path", [each for each in sys.path if not Path(each, "simplerl").is_dir()])
            with pytest.raises(SimpleRLError, match=r"(?s)ended with exit code 1; .*No module named 'simplerl'$"):
                Engines("native", policy, count=1, say=said.append, cluster=cluster)
            assert len(said) == 1
            monkeypatch.setattr(cluster_module, "HERE_S", 0.5)
            with pytest.raises(ConfigError, match=r"99 engines, each 1 CPU: .* after 0\.5 s\. It is this machine"):
                cluster.reserve(99, "engines")
            assert said[1:] == ["waits up to 0.5 s for room for 99 engines, each 1 CPU"]
            capfd.readouterr()
        finally:
            engines.close()
            time.sleep(2)  # So long it may take until Ray says something.
            cluster.close()
        assert not engines.files.exists()
        assert "worker died" not in capfd.readouterr().out

    @pytest.mark.parametrize(
        ("size", "said"),
        [
            pytest.param(0, "\n  the model is upside down", marks=pytest.mark.slow),
            (5, "cannot write what it is sent to /dev/shm/simplerl-"),
        ],
        ids=["model", "disk"],
    )
    def test_an_engine_elsewhere_that_cannot_load_ends_with_its_last_words(self, size: int, said: str, tmp_path: Path):
        """At once: Ray gave them to nobody who had ended the engine. The disk has room for one copy of the model."""
        mount = f"mount -t tmpfs -o size={size}m tmpfs /dev/shm" if size else "true"
        if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
            pytest.skip("a process may not have a /dev/shm of its own here")
        (tmp_path / "odd.py").write_text(CANNOT)
        over = deep(SMALL, {"cluster": {"engines": 1, "address": "local"}})
        if not size:
            over = deep(over, {"rollout": {"backend": "cannot"}})
        line = command("train", "cub", *arguments(over), "--plugin", str(tmp_path / "odd.py"))
        inside = f"{mount}; exec {shlex.join([*line, '--output-dir', str(tmp_path / 'run')])}"
        asked = ["unshare", "-rm", "sh", "-c", inside]
        done = subprocess.run(asked, env=environment(), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 2, done.stderr
        assert f"engine 0 of 1 ({'native' if size else 'cannot'}) ended with exit code 1; it said:" in done.stderr
        assert said in done.stderr
        assert "started anew" not in done.stdout
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "run").exists()

    def test_a_node_is_killed_and_its_engine_comes_back_on_another(self, cub: Callable[[str], Policy]) -> None:
        """Two nodes of one processor, with one engine; all processes of its node end at once, while it answers."""
        import psutil
        from ray.cluster_utils import Cluster as Nodes

        from simplerl.rollout.cluster import Cluster

        policy, said = cub("cub-qwen"), []
        requests = requests_of(policy, 256)
        wanted = dict(open_backend("native", policy).generate(requests, Sampling(max_new_tokens=24)))
        small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        engines = cluster = None
        try:
            for _ in range(2):
                nodes.add_node(num_cpus=1, **small)
            cluster = Cluster(nodes.address, 0)
            engines = Engines("native", policy, count=1, say=said.append, cluster=cluster)
            engines.sync(policy.model.state_dict().items(), 3)
            assert ask_back(engines, policy, "fp32") < 2e-4
            pid = engines.report()[0]["pid"]
            told = {}
            for index, completion in engines.generate(requests, Sampling(max_new_tokens=24)):
                assert index not in told
                told[index] = completion
                if len(told) == 20:
                    node = psutil.Process(pid).parent()
                    assert node.name() == "raylet"
                    for each in (node, *node.children(recursive=True)):
                        each.kill()
            assert all(told[i].token_ids.tolist() == wanted[i].token_ids.tolist() for i in wanted)
            assert {each.policy_version for each in told.values()} == {3}
            assert "engine 0 of 1 (native) was ended by signal 9; it is started anew" in said[0]
            assert psutil.Process(engines.report()[0]["pid"]).parent() not in (node, None)
        finally:
            if engines:
                engines.close()
            if cluster:
                cluster.close()
            nodes.shutdown()
        assert gone(pid)


def test_a_caller_without_the_secret_is_sent_away_and_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "REACH_S", 0.2)
    monkeypatch.setattr(cluster_module, "CALL_S", 5.0)
    cluster = object.__new__(cluster_module.Cluster)
    cluster._server = socket.create_server(("127.0.0.1", 0))
    address, secret = cluster._server.getsockname(), b"s" * cluster_module.SECRET
    cluster._expected = {secret: None}
    placed: Any = SimpleNamespace(secret=secret, poll=lambda: None)
    silent, wrong, right = (socket.create_connection(address) for _ in range(3))
    wrong.sendall(b"x" * cluster_module.SECRET)
    right.sendall(secret)
    connection = cluster.called(placed)
    assert connection.getpeername() == right.getsockname()
    assert (silent.recv(1), wrong.recv(1)) == (b"", b"")
    monkeypatch.setattr(cluster_module, "CALL_S", 0.2)
    cluster._expected = {secret: None}
    assert cluster.called(placed).recv(1) == b"", "nobody calls: at its end at once"
    for each in (silent, wrong, right, connection, cluster._server):
        each.close()


def test_a_connection_to_who_takes_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one to a machine that is gone without a word: no engine's end is waited for in vain."""
    monkeypatch.setattr(cluster_module, "CALL_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as ours:
        theirs, _ = server.accept()
        with theirs, pytest.raises(OSError, match="timed out"):
            cluster_module._watched(ours).sendall(bytes(2**26))


def test_ray_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of what Ray does not say to have ended it is said that it is not seen to end; a question ends in a message."""
    never = threading.Event()

    class Late(Exception):
        pass

    def get(over: Any, timeout: float) -> None:
        assert timeout is not None
        never.wait(timeout)
        raise Late

    exceptions = SimpleNamespace(GetTimeoutError=Late, RayActorError=ZeroDivisionError)
    ray = SimpleNamespace(is_initialized=lambda: True, kill=lambda *_, **__: None, get=get, exceptions=exceptions)
    (said := tmp_path / "said").touch()
    placed = cluster_module.Placed(ray, None, None, said, b"")
    monkeypatch.setattr(engines_module, "LEAVE_S", 0.2)
    monkeypatch.setattr(ranks_module, "DEATH_S", 0.2)
    began = time.monotonic()
    engines_module._kill(placed)
    assert last_words(placed, said, "is not seen to end") == "is not seen to end, and said nothing"
    ranks_module._end([placed], [], SimpleNamespace(cleanup=lambda: None))
    monkeypatch.setattr(cluster_module, "ANSWER_S", 0.2)
    with pytest.raises(SimpleRLError, match=r"Ray has not answered within 0\.2 s"):
        cluster_module._answer(never.wait)
    with pytest.raises(ZeroDivisionError):
        cluster_module._answer(lambda: 1 / 0)
    assert cluster_module._answer(lambda: 7) == 7
    assert time.monotonic() - began < 10
