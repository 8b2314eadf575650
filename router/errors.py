"""Errors of the router package; each message names the place, or what disagrees."""


class RouterError(Exception):
    """Base of everything this package raises on purpose.

    RouterError
    ├── ExampleError     a line of training or evaluation data cannot be used
    ├── FitError         the data as a whole cannot be fitted
    ├── GoalError        the data cannot promise what is asked of thresholds
    ├── PictureError     a picture cannot be drawn or written
    └── ArtefactError    a fitted router is missing, broken, or from another format
    """


class ExampleError(RouterError):
    """A file or line of examples cannot be used; says which and how to fix it."""


class FitError(RouterError):
    """There is too little, or too one-sided, data for a router."""


class GoalError(RouterError):
    """Thresholds that reach a goal cannot be chosen on this data; says what can be reached."""


class PictureError(RouterError):
    """A picture cannot be drawn, for want of matplotlib, or written, by reason of the disk."""


class ArtefactError(RouterError):
    """A router's folder cannot be read."""
