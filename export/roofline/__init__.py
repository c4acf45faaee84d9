"""What a graph must compute and move, and how fast a device can."""
