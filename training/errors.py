"""What can go wrong between a file of examples and a registered adapter version.

TrainingError
├── DataError          a line or a source of examples that cannot be used; names file and line
├── Leaked             training rows that are near-copies of evaluation rows
├── TooFewRows         not enough examples to train on, or to judge by
├── RunFailed          the training itself broke, for instance a loss that is no number
├── NotReplayable      the data or the base model of a version is gone, or is another one
└── EndpointError      the model server that was to be evaluated did not answer as one
"""


class TrainingError(Exception):
    """Base of every error this package raises; the message names the fix."""


class DataError(TrainingError):
    """Examples that cannot be used; the message begins with `file:line` where there is one."""


class Leaked(TrainingError):
    """Training rows are near-copies of evaluation rows; a score on these would mean nothing."""


class TooFewRows(TrainingError):
    """Not enough examples are left to train on or to judge by."""


class RunFailed(TrainingError):
    """The training itself broke; nothing was registered."""


class NotReplayable(TrainingError):
    """A version cannot be trained again; the message names the digest that is missing."""


class EndpointError(TrainingError):
    """The model server is unreachable, or does not know the model or the key."""
