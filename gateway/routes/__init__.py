"""The ordinary routes, one file per subject: parse, call, return."""
