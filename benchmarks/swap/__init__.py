"""Adapters swapped under load on real vLLM: `turnout bench swap`; `tests/vllm` uses its parts."""
