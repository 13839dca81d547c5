"""Brevity: 1 for a right answer in few characters, less for more; nothing for a wrong one, of whatever length."""

from simplerl import register


@register("reward", "brevity")
def brevity(prompts, completions, verdict, **columns):
    """TRL's signature: lists in, a list of floats out; None where the reward does not apply."""
    return [
        min(1.0, 30 / max(len(text), 1)) if status == "correct" else None
        for text, status in zip(completions, verdict, strict=True)
    ]
