"""`simplerl export`: a run's model as a Hugging Face directory of its own."""

import argparse
import shutil
from pathlib import Path

from simplerl.core.errors import ModelError, RunError


def run(args: argparse.Namespace) -> None:
    """Write the model, adapters merged into it, or the adapters alone."""
    from simplerl.models.load import load, locate  # Torch, which --help need not wait for.
    from simplerl.models.lora import CONFIG, WEIGHTS

    source = Path(locate(args.model))
    if args.output.exists():
        raise RunError(f"{args.output} exists already; choose another --output, or remove it")
    if args.adapter:
        if not (source / CONFIG).is_file():
            raise ModelError(f"{args.model} ({source}) holds no adapters; leave out --adapter")
        args.output.mkdir(parents=True)
        for name in (CONFIG, WEIGHTS):
            shutil.copy(source / name, args.output / name)
    else:
        policy = load(str(source))
        policy.model.save_pretrained(args.output)
        policy.tokenizer.save_pretrained(args.output)
    merged = "" if args.adapter or not (source / CONFIG).is_file() else " with its adapters merged into it"
    print(f"{source}{merged} → {args.output}")
