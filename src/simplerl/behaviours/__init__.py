"""Cognitive behaviours in responses: what they are, who sees them (keywords, or a model that judges), how they agree."""
