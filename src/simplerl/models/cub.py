"""The cubs: an embedded family of tiny base models, shipped as ordinary Hugging Face model directories."""

from pathlib import Path

#: Directory with one model directory per cub.
HOME = Path(__file__).parent / "cubs"
NAMES = ("cub-hasty", "cub-qwen", "cub-llama", "cub-mistral", "cub-calculator", "cub-stack")


def path(name: str) -> Path:
    """Return the model directory of a cub."""
    return HOME / name
