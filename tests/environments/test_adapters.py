"""Environments of other libraries: a package as the scaffold of `verifiers` makes it, and OpenEnv's own example."""

import importlib.util
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from simplerl import data
from simplerl.core.errors import ConfigError, DataError
from simplerl.core.types import Problem
from simplerl.data.prompts import TEMPLATES
from simplerl.environments import ENVIRONMENTS, adapters
from simplerl.rewards import REWARDS
from simplerl.rollout.backend import Sampling
from simplerl.rollout.fake import FakeBackend
from simplerl.rollout.groups import Rollout, prompt
from simplerl.verify import VerifierPool


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


needs_verifiers = pytest.mark.skipif(not installed("verifiers"), reason="needs the extra `verifiers`")
needs_textarena = pytest.mark.skipif(
    not (installed("verifiers") and installed("textarena") and installed("nltk")), reason="needs `verifiers[ta]`"
)
needs_openenv = pytest.mark.skipif(not installed("openenv"), reason="needs the extra `openenv`")


def rolled(policy, environment, problems, respond, samples: int = 2, context: int = 1024):
    end = frozenset({policy.tokenizer.eos_token_id})
    backend = FakeBackend("", policy.tokenizer, stop_ids=end, context_length=context, respond=respond)
    with VerifierPool(workers=1) as verifier:
        rollout = Rollout(
            backend=backend, verifier=verifier, reward=REWARDS["correctness"](), samples=samples, seed=0,
            sampling=Sampling(max_new_tokens=400), environment=environment, tokenizer=policy.tokenizer,
        )  # fmt: skip
        prompted = prompt(problems, TEMPLATES["plain"], policy, environment)
        groups = rollout.sample_groups(prompted, purpose="train", step=1)
    return [t for group in groups for t in group.trajectories]


@pytest.mark.parametrize("name", ["verifiers", "openenv"])
def test_a_library_that_is_missing_is_named(name: str, monkeypatch) -> None:
    for module in ("verifiers.v1", "openenv.core"):
        monkeypatch.setitem(sys.modules, module, None)
    uses = {
        "verifiers": lambda: data.read("verifiers:some-package"),
        "openenv": lambda: ENVIRONMENTS[name]().start(0, 0),
    }
    with pytest.raises(ConfigError, match=rf"{name} needs its library: pip install 'simplerl\[{name}\]'"):
        uses[name]()


@pytest.fixture
def package(tmp_path, monkeypatch) -> str:
    """A package as `vf-init` scaffolds it, its two gaps filled in, and beside it one whose user asks back."""
    from verifiers.v1.cli import init

    monkeypatch.setattr(sys, "argv", ["vf-init", "double-v1", "--path", str(tmp_path)])
    init.main()
    (file,) = tmp_path.rglob("taskset.py")
    text = file.read_text()
    head, _, rest = text.partition("        raise NotImplementedError")
    rest = rest[rest.index("\n\n") :]
    text = f"{head}        return float(self.data.answer in (trace.last_reply or '')){rest}"
    head = text[: text.rindex("        raise NotImplementedError")]
    made = "DoubleTask(DoubleData(prompt=f'What is {i}*2?', answer=str(2 * i)), self.config.task)"
    head = head.replace('such as a reference answer."""', 'such as a reference answer."""\n\n    answer: str', 1)
    file.write_text(f"{head}        return [{made} for i in range(self.config.num_tasks)]\n")
    asks = file.parent.parent / "asks_v1"
    asks.mkdir()
    (asks / "__init__.py").write_text(
        "import verifiers.v1 as vf\n"
        "from double_v1.taskset import DoubleTaskset\n\n\n"
        "class Config(vf.EnvConfig):\n    player: vf.AgentConfig = vf.AgentConfig()\n\n\n"
        "class Asks(vf.Env[Config]):\n"
        "    async def run(self, task, agents):\n"
        "        async with agents.player.interaction(task) as interaction:\n"
        "            await interaction.turn()\n"
        "            await interaction.turn('Sure?')\n\n\n"
        "class AsksTaskset(DoubleTaskset):\n    pass\n\n\n"
        '__all__ = ["AsksTaskset", "Asks"]\n'
    )
    monkeypatch.syspath_prepend(str(file.parent.parent))
    return "double-v1"


@needs_verifiers
def test_a_package_of_verifiers_is_trained_in(cub, package: str, monkeypatch) -> None:
    train, test = (data.read(f"verifiers:{package},num_tasks=30", split).problems for split in ("train", "test"))
    assert len(train) + len(test) == 30
    assert not {p.id for p in train} & {p.id for p in test}
    assert data.read(f"verifiers:{package},num_tasks=30", "train", size=3).problems == train[:3]
    policy, environment = cub("cub-qwen"), ENVIRONMENTS["verifiers"]()
    # A right answer to 2*2 alone.
    got = rolled(policy, environment, train[:4], lambda text, key: " 4." if "What is 2*2" in text else " 77.")
    for t in got:
        right = t.problem.question == "What is 2*2?"
        assert (t.verdict.status, t.reward) == (("correct", 1.0) if right else ("wrong", 0.0))
        shown = policy.tokenizer.decode(t.prompt_ids.tolist())
        assert shown == f"<|im_start|>user\n{t.problem.question}<|im_end|>\n<|im_start|>assistant\n"
        assert t.loss_mask.all()
    with pytest.raises(ConfigError, match="verifiers:no-such-package"):
        data.read("verifiers:no-such-package")
    monkeypatch.setattr("double_v1.taskset.DoubleTaskset.load", lambda self: [1 / 0])
    with pytest.raises(DataError, match="its tasks cannot be loaded: ZeroDivisionError"):
        data.read(f"verifiers:{package},num_tasks=31")
    with pytest.raises(ConfigError, match="PACKAGE"):
        data.read("verifiers")
    strange = [Problem(id="a", question="Q", answer="1", source="s")]
    with pytest.raises(ConfigError, match="is not a task of verifiers"):
        rolled(policy, environment, strange, lambda text, key: " 1")


@needs_verifiers
def test_a_user_of_verifiers_asks_back(cub, package: str) -> None:
    policy = cub("cub-qwen")
    problems = data.read("verifiers:asks-v1,num_tasks=30", "train", size=2).problems
    half = ENVIRONMENTS["verifiers"](highest=2.0)
    for t in rolled(policy, half, problems, lambda text, key: " 0 2 4 6." if "Sure?" in text else " ?"):
        assert [author for author, _ in t.texts] == ["policy", "environment", "policy"]
        assert t.texts[2][1] == " 0 2 4 6."
        assert "Sure?" in t.texts[1][1]
        assert t.loss_mask.sum() < len(t.loss_mask)
        assert (t.verdict.status, t.reward) == ("wrong", 0.5)


@needs_textarena
def test_the_games_that_come_with_verifiers(cub, tmp_path, monkeypatch) -> None:
    """Hangman of TextArena, their taskset as it is: the engine plays the user, and its end is the reward."""
    import nltk

    (tmp_path / "corpora/words").mkdir(parents=True)
    for name in ("en", "en-basic"):  # The word list, which is otherwise fetched from the network.
        (tmp_path / "corpora/words" / name).write_text("otto\n")
    monkeypatch.setattr(nltk, "download", lambda *names, **options: True)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    problems = data.read("verifiers:textarena,game=Hangman-v0", "train", size=2).problems
    assert "You are playing Hangman" in problems[0].question
    policy, environment = cub("cub-qwen"), ENVIRONMENTS["verifiers"]()

    def play(text: str, key) -> str:
        return " [t]" if text.count("assistant") == 1 else " [otto]"

    for t in rolled(policy, environment, problems, play, context=4096):
        assert [text for author, text in t.texts if author == "policy"] == [" [t]", " [otto]"]
        assert "_   T   T   _" in t.texts[1][1]  # The board with what was guessed.
        assert (t.verdict.status, t.reward) == ("correct", 1.0)
    for t in rolled(policy, environment, problems, lambda text, key: " nothing in brackets", context=4096):
        assert (t.verdict.status, t.reward) == ("wrong", 0.0)


@pytest.fixture
def server(tmp_path) -> str:
    """The example that `openenv init` makes: it echoes, and pays 0.1 for a character."""
    import uvicorn
    from openenv.cli.commands import init

    init.init(env_name="echo_env", output_dir=str(tmp_path))
    app = next(Path(tmp_path).rglob("app.py"))
    app.write_text(app.read_text().replace("max_concurrent_envs=1", "max_concurrent_envs=32"))
    sys.path[:0] = [str(app.parent.parent)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = uvicorn.Server(uvicorn.Config("server.app:app", host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(20)
    sys.path.remove(str(app.parent.parent))


@needs_openenv
def test_a_server_of_openenv_is_trained_in(cub, server: str) -> None:
    policy = cub("cub-qwen")
    problems = [Problem(id=f"p{i}", question="Say something.", answer="", source="s") for i in range(3)]
    environment = ENVIRONMENTS["openenv"](url=server, observation="echoed_message", highest=2.0, max_turns=3)
    for t in rolled(policy, environment, problems, lambda text, key: "0123456789"):
        assert [author for author, _ in t.texts] == ["policy", "environment"] * 2 + ["policy"]
        assert "0123456789" in t.texts[1][1]
        assert "environment ready!" in policy.tokenizer.decode(t.prompt_ids.tolist())
        assert (t.verdict.status, t.verdict.score, t.reward) == ("wrong", 0.5, 0.5)
    beyond = ENVIRONMENTS["openenv"](url=server, max_turns=1, returns="sum")
    (t,) = rolled(policy, beyond, problems[:1], lambda text, key: "0" * 50, samples=1)
    assert t.verdict.status == "error"
    assert "a reward is a number from 0 to 1" in t.verdict.detail
    missing = ENVIRONMENTS["openenv"](url="http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="no server answers"):
        rolled(policy, missing, problems[:1], lambda text, key: "1")
    with pytest.raises(ConfigError, match=r"environment\.url"):
        rolled(policy, ENVIRONMENTS["openenv"](), problems[:1], lambda text, key: "1")


def test_their_scales_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"environment\.lowest 1\.0 must be below"):
        adapters.OpenEnv(lowest=1.0)
