"""Pure reinforcement-learning mathematics: small functions of tensors, without I/O and without configuration."""
