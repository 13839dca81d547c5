"""Self-training: `star` (B-STaR and what it is compared with), and the training of process reward models."""
