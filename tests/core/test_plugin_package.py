"""The example of a plug-in package: found by its entry point, in --help and recipes; it trains, resumes, evaluates."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, environment

import simplerl
from simplerl.core import registry

PACKAGE = ROOT / "examples" / "plugin"
#: A run of a second.
QUICK = ["--sampling.prompts-per-step", "2", "--sampling.samples-per-prompt", "4", "--sampling.max-new-tokens", "16"]
QUICK += ["--dataset.size", "8", "--evaluation.size", "4", "--evaluation.samples", "2", "--checkpoint.every", "1"]


def install(directory: Path) -> None:
    """Lay the package out as an installer does: its modules, and metadata with the entry point."""
    shutil.copytree(PACKAGE / "simplerl_thrifty", directory / "simplerl_thrifty")
    metadata = directory / "simplerl_thrifty-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: simplerl-thrifty\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[simplerl.plugins]\nthrifty = simplerl_thrifty\n")


def command(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run simplerl in a process that finds what is installed in a directory."""
    env = environment()
    env["PYTHONPATH"] = f"{installed}:{env['PYTHONPATH']}"
    return subprocess.run(
        [sys.executable, "-m", "simplerl", *arguments],
        env=env,
        cwd=installed,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def everything(installed: Path) -> None:
    """Go through a plug-in's life by commands."""
    shown = command(installed, "train", "--help")
    assert shown.returncode == 0, shown.stderr
    for name in ("thrifty", "brevity", "doubles", "ask"):
        assert f", {name}" in " ".join(shown.stdout.split()), name
    listed = command(installed, "recipes")
    assert "cub-thrifty" in listed.stdout, listed.stderr

    run = installed / "run"
    done = command(installed, "train", "cub-thrifty", *QUICK, "--steps", "1", "--output-dir", str(run))
    assert done.returncode == 0, done.stderr
    done = command(installed, "train", "--output-dir", str(run), "--resume", "--steps", "2")
    assert done.returncode == 0, done.stderr
    read = simplerl.Run(run)
    assert read.finished
    assert (read.setting("algorithm.name"), read.setting("algorithm.thrift")) == ("thrifty", 0.1)
    assert [entry["name"] for entry in read.config["plugins"]] == ["simplerl_thrifty"], "it was used: it is recorded"
    assert len(read.config["plugins"][0]["sha256"]) == 64
    assert read.metrics.column("thrifty/mean_credit").to_pylist()[0] is None
    assert all(value is not None for value in read.metrics.column("thrifty/mean_credit").to_pylist()[1:])
    assert set(read.responses(columns=["source"]).column("source").to_pylist()) == {"doubles"}

    (installed / "problems.jsonl").write_text(json.dumps({"question": "What is 3+3?", "answer": "6"}) + "\n")
    done = command(
        installed, "eval", str(run), "--benchmarks", "problems.jsonl", "--max-tokens", "16", "--steps", "last"
    )
    assert done.returncode == 0, done.stderr
    assert "changed" not in done.stdout
    file = installed / "simplerl_thrifty" / "reward.py"
    file.write_text(file.read_text() + "\n# A remark.\n")
    done = command(installed, "train", "--output-dir", str(run), "--resume", "--steps", "3")
    assert done.returncode == 0, done.stderr
    assert "WARNING: plug-in simplerl_thrifty has changed since the run began" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_package_installed_into_a_fresh_environment(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", reason="building the package without a network needs setuptools")
    source = shutil.copytree(PACKAGE, tmp_path / "source")
    options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet", "--target", str(tmp_path / "site")]
    pip = [sys.executable, "-m", "pip", "install", *options, str(source)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    everything(tmp_path / "site")


def test_the_package_in_this_process(tmp_path: Path, monkeypatch) -> None:
    """The quick form: by its entry point, through Python."""
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.load_installed.cache_clear()
    try:
        run = simplerl.train(
            "cub-thrifty",
            output_dir=tmp_path / "run",
            quiet=True,
            steps=2,
            settings={
                "sampling.prompts_per_step": 2,
                "sampling.samples_per_prompt": 4,
                "sampling.max_new_tokens": 16,
                "dataset.size": 8,
                "evaluation.size": 4,
                "evaluation.samples": 2,
            },
        )
        assert run.finished
        assert [entry["name"] for entry in run.config["plugins"]] == ["simplerl_thrifty"]
        assert run.metrics.column("thrifty/mean_credit").to_pylist()[1:] != [None, None]
        for row in run.responses(columns=["verdict", "reward_parts", "reward", "response"]).to_pylist():
            parts = dict(row["reward_parts"])
            assert ("brevity" in parts) == (row["verdict"] == "correct")
            assert row["reward"] == pytest.approx(parts["correctness"] + 0.2 * parts.get("brevity", 0.0))
        simplerl.train("cub", output_dir=tmp_path / "other", quiet=True, steps=1, settings={"evaluation.size": 4})
        assert not simplerl.Run(tmp_path / "other").config["plugins"], "installed, but not used"
    finally:
        registry.forget("simplerl_thrifty")
        registry._LOADED.pop("simplerl_thrifty", None)
        for name in [name for name in sys.modules if name.partition(".")[0] == "simplerl_thrifty"]:
            del sys.modules[name]
        registry.load_installed.cache_clear()
