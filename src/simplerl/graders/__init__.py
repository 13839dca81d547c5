"""Rewards that another model gives: where it is asked for them (`desk.py`), and what it is asked (`judged.py`)."""
