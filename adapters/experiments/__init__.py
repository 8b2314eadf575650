"""Live tests between arms. This package decides who sees what; it never talks to an engine."""
