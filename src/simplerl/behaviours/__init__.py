"""Cognitive behaviours in responses: what they are, and who sees them: keywords, or a model that judges."""
