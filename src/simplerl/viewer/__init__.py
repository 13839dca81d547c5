"""The page over run and result directories: reads them, writes nothing, imports nothing of the trainer."""
