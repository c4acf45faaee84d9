"""A run against an earlier one: reading it, what keeps the two apart, and what changed by more than the noise."""
