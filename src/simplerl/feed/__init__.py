"""What a step is made of: which problems are sampled, how often, at which temperature, and what is learned from."""
