"""Self-training: star and what it is compared with, sampling alone, and the training of process reward models."""
