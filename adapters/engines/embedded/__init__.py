"""The embedded engine: an OpenAI-compatible model server with run-time LoRA, for machines without
vLLM.

It speaks the part of vLLM's HTTP surface that the gateway uses, so that either can stand behind it.
It runs in a process of its own (`turnout engine`); nothing here is imported by the gateway.
"""
