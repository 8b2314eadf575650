"""Adapter versions, the engines that hold them, experiments between them, and the interaction
record."""
