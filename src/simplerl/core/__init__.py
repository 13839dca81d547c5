"""What every room shares: stage types, addressed randomness, errors, the registry."""
