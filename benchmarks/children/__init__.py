"""What is supervised in the benchmarks: the same code as an agent and as a script."""
