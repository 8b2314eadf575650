"""Labelled queries to the folder of a router, and a label more to one that is fitted."""
