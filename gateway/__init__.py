"""The service: the only package that knows HTTP serving."""
