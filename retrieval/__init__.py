"""Passages for a question: documents in, versioned FAISS indexes, grounded prompts out."""
