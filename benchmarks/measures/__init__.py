"""What `benchmarks/training.py` measures, one module each: `measure(job) -> dict` runs in a process of its own."""
