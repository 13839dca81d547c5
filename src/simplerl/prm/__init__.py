"""Process reward models: what each step of a response is worth, and what is made of it. See docs/self-training.md."""
