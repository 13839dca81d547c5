"""Training: the loop, the run that it writes, the learner, and fine-tuning on demonstrations."""
