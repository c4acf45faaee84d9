"""What is measured and counted of every candidate: latency, memory, work and drift, each for itself."""
