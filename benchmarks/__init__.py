"""Measurements and demonstrations; RESULTS.md keeps what they gave."""
