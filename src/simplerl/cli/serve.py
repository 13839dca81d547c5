"""`simplerl serve`: an OpenAI-compatible endpoint over a run's policy, which records the episodes of agents."""

import argparse
import contextlib
import os
import secrets

from simplerl.cli.console import say
from simplerl.evaluate.run import open_rollout
from simplerl.models.device import pick_device
from simplerl.models.load import load
from simplerl.rollout.backend import Sampling
from simplerl.rollout.serving import open_endpoint
from simplerl.runs.files import LockedDirectory

KEY = "SIMPLERL_SERVE_KEY"


def run(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    key = os.environ.get(KEY) or secrets.token_hex(16)
    policy = load(args.model, device=pick_device(args.device))
    sampling = Sampling(temperature=args.temperature, max_new_tokens=args.max_tokens)
    options = {"samples": 1, "seed": args.seed, "backend": args.backend}
    with LockedDirectory(args.output_dir), open_rollout(policy, sampling=sampling, **options) as rollout:
        server = open_endpoint(rollout, args.output_dir, port=args.port, key=key, seconds=args.seconds, say=say)
        say(
            f"{server.base_url}  (Ctrl-C ends it; episodes go to {args.output_dir})",
            f'open an episode: curl -X POST -H "Authorization: Bearer {"$" + KEY if KEY in os.environ else key}" '
            f"-H 'Content-Length: 0' {server.base_url}/episodes",
        )
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()
