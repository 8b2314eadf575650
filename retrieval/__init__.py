"""Passages for a question: documents in, versioned FAISS indexes, grounded prompts out."""

from retrieval.encoder import StaticEncoder
from retrieval.errors import RetrievalError
from retrieval.passages import Passage
from retrieval.prompt import ground
from retrieval.retriever import Retriever

__all__ = ["Passage", "RetrievalError", "Retriever", "StaticEncoder", "ground"]
