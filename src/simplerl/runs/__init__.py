"""Run directories: the only contract between training and everything that reads its results. See docs/run-format.md."""
