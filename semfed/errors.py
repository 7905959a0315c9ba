"""What can go wrong for a user. Every message is one sentence: the field, the value and the remedy."""


class SemfedError(Exception):
    """Base of all errors that are the user's to mend; the command line prints them without a traceback."""


class ScenarioError(SemfedError):
    """A scenario, an override or a plugin name that cannot be used."""


class DataError(SemfedError):
    """Data that is missing, damaged, or not enough for the partition or the tasks."""


class FederationError(SemfedError):
    """Clients that did not answer, or answered with something that cannot be used."""


class RunFolderError(SemfedError):
    """A run folder that cannot be written or read."""


class EngineError(SemfedError):
    """An engine that could not start, or a run that it ended without success."""


class CheckpointError(SemfedError):
    """A checkpoint that cannot be written, or must not be read."""
