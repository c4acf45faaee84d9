"""Speed, limits and drift of any mix of checkpoints, graphs and engines, measured in one run."""
