"""Errors of the retrieval package; each message names the place, or what disagrees."""


class RetrievalError(Exception):
    """Base of everything this package raises on purpose.

    RetrievalError
    ├── DocumentError    a document cannot be read; says which file and line
    ├── EncoderError     the embedding model is missing or broken
    └── IndexingError    an index is missing, broken, or belongs to another encoder
    """


class DocumentError(RetrievalError):
    """A path, file or line cannot be turned into documents."""


class EncoderError(RetrievalError):
    """The static embedding model is missing, incomplete, or cannot be made."""


class IndexingError(RetrievalError):
    """An index cannot be built, opened or rolled back."""
