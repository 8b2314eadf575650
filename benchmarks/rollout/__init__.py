"""Rollouts that move by themselves, with simulated users who know the truth: `turnout bench
rollout`; `tests/gateway` and `tests/vllm` use its parts."""
