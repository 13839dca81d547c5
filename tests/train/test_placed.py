"""Ranks that Ray places are the ranks of one machine, bit for bit; a node that is killed loses nothing."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from support import SMALL, arguments, assert_same_run, begin_run, deep, fingerprint, gone, run_main

import simplerl
from simplerl.core.errors import ConfigError
from simplerl.rollout import cluster as module
from simplerl.rollout.cluster import Cluster, interface_of

needs_ray = [pytest.mark.engines, pytest.mark.skipif(not find_spec("ray"), reason="needs Ray: python tools/engines.py")]
SMALL_NODE = {"object_store_memory": 80 * 2**20}
#: A critic, a reference and an engine: all that is read from files, here of the controller alone.
TWO = {"learner": {"ranks": 2}, "algorithm": {"name": "ppo"}, "cluster": {"engines": 1}, "steps": 4}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Three nodes of one processor, beside a head that has none and the controller on it."""
    from ray.cluster_utils import Cluster as Nodes

    head = {"num_cpus": 0, "include_dashboard": False, **SMALL_NODE}
    started = Nodes(initialize_head=True, head_node_args=head)
    for _ in range(3):
        started.add_node(num_cpus=1, **SMALL_NODE)
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run whose two ranks and engine are processes of this machine."""
    path = tmp_path_factory.mktemp("here") / "run"
    train(path, "")
    return fingerprint(path)


class Watch:
    """A callback that does something after a step, once, and keeps what is said."""

    def __init__(self, step: int, act: Callable[[], None]):
        self.step, self.act, self.lines = step, act, list[str]()

    def say(self, message: str) -> None:
        self.lines.append(message)

    def on_step(self, step: int, metrics: Any, groups: Any) -> None:
        if step == self.step:
            self.step = -1
            self.act()


def train(path: Path, address: str, *callbacks: Any, **over: Any) -> simplerl.Run:
    settings = deep(deep(SMALL, TWO), {"cluster": {"address": address}, "checkpoint": {"every": 2}, **over})
    resume = path.exists()
    return simplerl.train("cub", output_dir=path, settings=settings, resume=resume, quiet=True, callbacks=callbacks)


def actors() -> dict[int, psutil.Process]:
    """Return the processes that Ray runs for us on this machine, by id, with the raylet of each."""
    found = {}
    for each in psutil.process_iter(["cmdline"]):
        if each.info["cmdline"] and each.info["cmdline"][0].startswith("ray::_Actor"):
            raylet = each.parent()
            if raylet and raylet.ppid() == os.getpid():  # Not of tests beside these.
                found[each.pid] = raylet
    return found


class TestRay:
    pytestmark = needs_ray

    def test_a_run_on_placed_ranks_is_the_run_on_ranks_here(self, nodes: Any, here, tmp_path: Path) -> None:
        """The controller is killed half-way: what goes on begins from moments that rank 0 alone can read."""
        over = {"cluster": {"address": nodes.address}, "checkpoint": {"every": 2}, "steps": 500}
        process = begin_run(tmp_path / "run", deep(TWO, over))
        seen = actors()
        process.kill()
        process.communicate()
        assert len({raylet.pid for raylet in seen.values()}) == 2, "engine and rank are on a node each"
        assert all(gone(pid) for pid in seen), "an actor outlives its controller"
        train(tmp_path / "run", nodes.address, Watch(3, lambda: seen.update(actors())))
        assert_same_run(tmp_path / "run", here)
        assert len(seen) == 4
        assert all(gone(pid) for pid in seen), "an actor outlives its run"

    def test_a_node_is_killed_and_the_run_goes_on_the_same(self, nodes: Any, here, tmp_path: Path) -> None:
        seen: dict[int, psutil.Process] = {}

        def kill() -> None:
            """End all processes of the node with the rank at once: of the two actors the one that says nothing here."""
            seen.update(actors())
            engine = simplerl.Run(tmp_path / "run").status["engines"][0]["pid"]
            (node,) = (raylet for pid, raylet in seen.items() if pid != engine)
            for each in (node, *node.children(recursive=True)):
                each.kill()

        watch = Watch(3, kill)
        began = time.monotonic()
        assert train(tmp_path / "run", nodes.address, watch).finished
        print(f"{time.monotonic() - began:.1f} s", *watch.lines, sep="\n")
        nodes.add_node(num_cpus=1, **SMALL_NODE)
        assert_same_run(tmp_path / "run", here)
        (said,) = (line for line in watch.lines if line.startswith("WARNING: rank 1 of 2 of the learner (on "))
        assert said.endswith("The run goes on from its newest checkpoint (1 of 3 times)")
        assert next(line for line in watch.lines if line.startswith("resuming")).endswith("after step 2")
        assert all(gone(pid) for pid in seen), "an actor outlives its run"

    @pytest.mark.parametrize(
        ("ranks", "changed", "said"),
        [
            (9, {}, "has no room for 8 ranks of the learner, each 1 CPU: 3 CPU free after 3 s"),
            (2, {"torch": "1.0"}, "; the controller has simplerl 1, torch 1.0: install the same"),
        ],
    )
    def test_what_cannot_be_placed_is_one_message(
        self, nodes: Any, ranks: int, changed: dict[str, str], said: str, tmp_path: Path, capsys, monkeypatch
    ) -> None:
        monkeypatch.setattr(module, "CALL_S", 3.0 if ranks > 2 else module.CALL_S)
        monkeypatch.setattr(module, "VERSIONS", {"simplerl": "1", **changed} if changed else module.VERSIONS)
        over = deep(SMALL, {"cluster": {"address": nodes.address}, "learner": {"ranks": ranks}})
        code, _, error = run_main(capsys, "train", "cub", *arguments(over), "--output-dir", str(tmp_path / "run"))
        assert code == 2
        assert said in error
        assert "Traceback" not in error
        assert not (tmp_path / "run").exists()

    def test_an_address_that_does_not_answer(self, tmp_path: Path, capsys) -> None:
        over = deep(SMALL, {"cluster": {"address": "127.0.0.1:9"}, "learner": {"ranks": 2}})
        code, _, error = run_main(capsys, "train", "cub", *arguments(over), "--output-dir", str(tmp_path / "run"))
        assert code == 2
        assert "cluster.address = '127.0.0.1:9' does not answer" in error

    def test_gpus_of_this_machine_that_the_learner_takes_are_given_to_nobody(self, monkeypatch) -> None:
        """Of two machines with a GPU each (Ray believes it): what is placed is on the other one. SIGTERM stays ours."""
        import ray
        from ray.cluster_utils import Cluster as Nodes

        head = {"num_cpus": 4, "num_gpus": 1, "include_dashboard": False, **SMALL_NODE}
        two = Nodes(initialize_head=True, head_node_args=head)
        cluster = None
        stops = signal.getsignal(signal.SIGTERM)
        try:
            other = two.add_node(num_cpus=4, num_gpus=1, **SMALL_NODE)
            signal.signal(signal.SIGTERM, ours := lambda *_: None)
            with pytest.raises(ConfigError, match="computes on the GPUs 1 of this machine, and Ray can give it 0"):
                Cluster(two.address, 1, own_gpus=[1])
            cluster = Cluster(two.address, 1, own_gpus=[0])
            assert signal.getsignal(signal.SIGTERM) is ours
            cluster.reserve(1, "ranks")
            (placed,) = ray.util.placement_group_table(cluster._groups[0])["bundles_to_node_id"].values()
            assert placed == other.node_id
            monkeypatch.setattr(module, "CALL_S", 2.0)
            with pytest.raises(ConfigError, match=r"no room for 1 ranks, each 1 CPU, 1 GPU: \d CPU, 0 GPU free"):
                cluster.reserve(1, "ranks")
        finally:
            if cluster:
                cluster.close()
            two.shutdown()
            signal.signal(signal.SIGTERM, stops)


def test_an_interface_is_found_by_its_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.9") == ""


def test_ranks_that_a_cluster_places_are_those_beyond_the_gpus_here(monkeypatch: pytest.MonkeyPatch) -> None:
    from simplerl.models.device import ranks_here

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert [ranks_here(size, gpu, placed=True) for size in (1, 8, 16)] == [1, 8, 8]
    assert [ranks_here(size, cpu, placed=True) for size in (1, 2)] == [1, 1]
    assert ranks_here(3, cpu) == 3
