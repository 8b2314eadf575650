"""What can go wrong with packs, adapter versions, the store and the journal.

AdapterError
├── PackError             a pack folder that cannot be used: fix the named file
├── CorruptAdapter        a version's folder does not match its manifest, or must not be served
├── ArtifactsUnavailable  the artifact root or the cache of it did not answer
├── UnknownVersion        no such adapter version (or domain without one)
├── RefusedMove           an alias may not be moved like this (gate verdict, retired version …)
├── UnknownExperiment     no such experiment
├── InvalidExperiment     arms, weights or names that make no sense
├── UnknownFile           no such upload, or somebody else's
├── UnknownJob            no such training job, or somebody else's
├── RefusedChange         a file or a training job may not be changed like this, as it stands
├── UnknownItem           nothing of this id is to be reviewed
├── InvalidReview         what is to be reviewed, or was said of it, makes no sense
├── StoreUnavailable      the database did not answer
├── JournalFull           the journal could not take a record (disk full or limit reached)
├── ExportFailed          rows could not be written: the disk, or a package that is not there
└── EngineError           an engine refused or did not answer
    └── EngineTimeout     it did not answer in time; it may only be busy
"""


class AdapterError(Exception):
    """Base of every error this package raises."""


class PackError(AdapterError):
    """A pack folder cannot be used; the message names the file and the fix."""


class CorruptAdapter(AdapterError):
    """An adapter folder must not be served: wrong digest, wrong format, unsafe content."""


class ArtifactsUnavailable(AdapterError):
    """The artifact root, or this host's cache of it, did not answer; try again later."""


class UnknownVersion(AdapterError):
    """No adapter version of this name is registered."""


class RefusedMove(AdapterError):
    """An alias may not be moved like this."""


class UnknownExperiment(AdapterError):
    """No experiment of this name exists."""


class InvalidExperiment(AdapterError):
    """The experiment's arms, weights or names make no sense."""


class UnknownFile(AdapterError):
    """No upload of this id is there for who asks."""


class UnknownJob(AdapterError):
    """No training job of this id is there for who asks."""


class RefusedChange(AdapterError):
    """A file or a training job may not be changed like this; the message says what it waits for."""


class UnknownItem(AdapterError):
    """Nothing of this id is to be reviewed."""


class InvalidReview(AdapterError):
    """An item to be reviewed, or what somebody said of it, cannot be used; says what to change."""


class StoreUnavailable(AdapterError):
    """The database did not answer; nothing was lost, try again."""


class JournalFull(AdapterError):
    """The journal could not take a record."""


class ExportFailed(AdapterError):
    """Rows could not be written; the message says what to do."""


class EngineError(AdapterError):
    """An engine refused a request of ours or did not answer.

    `status` is the engine's HTTP status, or 0 when there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class EngineTimeout(EngineError):
    """An engine did not answer in time: stuck, or only busy."""
