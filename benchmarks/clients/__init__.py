"""Our HTTP client towards engines beside aiohttp and pyreqwest: what they get right, what they
cost."""
