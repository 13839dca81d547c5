"""simplerl: train reasoning into open base language models by reinforcement learning from verifiable rewards."""

__version__ = "0.1.0"
