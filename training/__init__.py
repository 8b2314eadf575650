"""From interactions and packs to better adapters; runs in processes of its own."""
