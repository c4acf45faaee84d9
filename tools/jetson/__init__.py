"""What makes a Jetson ready, and what its other accelerator says to a graph: docs/jetson.md."""
