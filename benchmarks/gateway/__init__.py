"""Turnout's gateway beside others, on one core each, with the same mock upstream and load."""
