"""What a run takes before it starts; the place of ranks, engines and nodes."""
