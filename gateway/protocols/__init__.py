"""Wire formats: from a caller's body to one request value, and from an engine's answer to the
caller's."""
