"""Asking a model well: what instructions, examples and passages do without any training."""
