"""Beyond mathematics: IFEval, MMLU, MMLU-STEM and GPQA-Diamond through lm-evaluation-harness, with our templates.

The harness owns tasks, prompts and metrics; ours are the model (loaded as everywhere: no remote code, no pickles), the
template and its special tokens. Any other task of the harness works by its name, and so does a task file (.yaml).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from simplerl.core.errors import ConfigError, DataError, SimpleRLError, nearest
from simplerl.core.types import Problem
from simplerl.data.prompts import Prompter, prompter
from simplerl.evaluate.run import Settings, Target, prompt_settings
from simplerl.models.device import pick_device
from simplerl.models.load import load, locate_and_hash
from simplerl.runs.directory import key_of
from simplerl.runs.files import make_directory, slug, write_json

#: Our short names → tasks of the harness.
TASKS = {"ifeval": "ifeval", "mmlu": "mmlu", "mmlu_stem": "mmlu_stem", "gpqa_diamond": "gpqa_diamond_cot_zeroshot"}

#: Most prompts that go through the model at once.
MOST_ROWS = 16


def evaluate(
    target: Target,
    tasks: Sequence[str],
    settings: Settings,
    *,
    fewshot: int | None,
    output: Path,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Return the harness's results (its own structure) for some tasks, written into `output/MODEL` without its samples.

    A length limit other than our default goes before the task's own. Raises ConfigError for an unknown task or a
    harness that is not installed, DataError where a task's data cannot be loaded.
    """
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise ConfigError(
            "--tasks needs lm-evaluation-harness: pip install 'simplerl[harness]' (IFEval also needs langdetect)"
        ) from error

    template, seed, limit = str(settings.template or target.config["template"]), settings.seed, settings.limit
    prompts = prompter(template, **prompt_settings(template, target, settings))
    policy = load(target.source, device=pick_device(settings.device, "device"))

    class Templated(HFLM):
        """The harness's own model class, speaking through our template."""

        def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return render(chat_history, prompts, self.tokenizer, opened=add_generation_prompt)

        def chat_template(self, chat_template: bool | str = False) -> str:
            return repr(prompts.template)

    manager = TaskManager(include_path=[str(p) for p in {Path(t).parent for t in tasks if t.endswith(".yaml")}] or None)
    names = [_task(name, manager) for name in tasks]
    model = Templated(
        pretrained=policy.model,
        tokenizer=policy.tokenizer,
        backend="causal",
        batch_size=min(settings.max_rows, MOST_ROWS),
        max_length=min(policy.context_length, 2**17),
        add_bos_token=prompts.begins(policy.tokenizer),
        trust_remote_code=False,
    )
    try:
        results = lm_eval.simple_evaluate(
            model=model,
            tasks=names,
            num_fewshot=fewshot,
            limit=limit or None,
            apply_chat_template=True,
            gen_kwargs={"max_gen_toks": settings.max_tokens} if settings.max_tokens != Settings().max_tokens else None,
            task_manager=manager,
            **dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), seed),
        )
    except SimpleRLError:
        raise
    except Exception as error:  # Data sets, metrics and tasks each fail in ways of their own.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"lm-evaluation-harness failed on {', '.join(names)}: {reason}\n"
            "Its tasks load their data from the hub: without a network, load them once elsewhere and copy the cache "
            "(HF_HOME), or give a task file (.yaml) with local data. --debug shows the traceback."
        ) from error
    # Nothing is overwritten but the same evaluation.
    weights = locate_and_hash(target.source)["sha256"]
    protocol: dict[str, Any] = {"weights_sha256": weights, "template": repr(prompts), "tasks": tasks}
    protocol |= {"seed": seed, "fewshot": fewshot, "max_tokens": settings.max_tokens, "limit": limit}
    file = output / slug(target.label) / f"{key_of('harness_' + '+'.join(tasks), protocol)}.json"
    make_directory(file.parent)
    write_json(file, json.loads(json.dumps({k: v for k, v in results.items() if k != "samples"}, default=str)))
    say(f"written to {file}")
    return results


def render(history: Sequence[Mapping[str, str]], prompter: Prompter, tokenizer: Any, *, opened: bool) -> str:
    """Return a conversation in our template: examples one after the other, the last question with its opened answer.

    A system message stands before the first question. Without `opened` the last message is the beginning of the answer.
    """
    text = system = ""
    for message in history:
        if message["role"] == "system":
            system = message["content"].strip() + "\n\n"
        elif message["role"] == "user":
            question = Problem(id="harness", question=system + message["content"], answer="", source="harness")
            text, system = text + prompter.template.render(question, tokenizer), ""
        else:
            text += message["content"] + "\n\n"
    return text if opened else text.removesuffix("\n\n")


def _task(name: str, manager: Any) -> str:
    """Return the harness's name of a task. Raises ConfigError naming the nearest."""
    wanted = Path(name).stem if name.endswith(".yaml") else TASKS.get(name, name)
    if name.endswith(".yaml") and not Path(name).is_file():
        raise ConfigError(f"task file {name} does not exist")
    if wanted not in manager.all_tasks:
        raise ConfigError(f"unknown task {name!r}; {nearest(name, [*TASKS, *manager.all_tasks])}")
    return wanted


def scores(results: Mapping[str, Any]) -> list[tuple[str, str, float, float | None]]:
    """Return (task, metric, value, standard error) of the harness's results, in its order."""
    rows = []
    for task, metrics in results["results"].items():
        for name, value in metrics.items():
            metric = name.partition(",")[0]
            if isinstance(value, int | float) and metric != "sample_len" and not metric.endswith("_stderr"):
                error = metrics.get(name.replace(metric, f"{metric}_stderr", 1))
                rows.append((task, metric, float(value), error if isinstance(error, float) else None))
    return rows
