"""Analysis of run directories. Reads them and nothing else: it knows nothing of the trainer."""
