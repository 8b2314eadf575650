"""Simulated experiments: how often the statistics are wrong, and how long they take to be right."""
