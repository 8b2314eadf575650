"""Model servers that adapters run on: the embedded engine, and a client for any vLLM-like one."""
