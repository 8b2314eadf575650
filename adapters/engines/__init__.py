"""Model servers that adapters run on: the embedded engine, and the client for any engine that speaks vLLM's HTTP."""
