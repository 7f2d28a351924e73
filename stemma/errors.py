"""Errors that a user can mend: one line, saying what to do."""


class StemmaError(Exception):
    """Base of every error caused by input; the command line prints it and exits with code 2."""


class CatalogError(StemmaError):
    """A ``paper.yaml`` cannot be read or does not fit the schema."""


class ParameterError(StemmaError):
    """A parameter is unknown, of the wrong type, or out of bounds."""


class EvidenceError(StemmaError):
    """Evidence does not fit the claim's rule (unknown claim, missing samples, NaN)."""


class DataUnavailable(StemmaError):
    """A data source can be had neither from the mirror, nor the cache, nor the network."""


class DataCorrupt(StemmaError):
    """A data file does not have the registered sha256."""


class TrackingError(StemmaError):
    """The MLflow store cannot be used."""


class RunError(StemmaError):
    """A run cannot be started (folder not writable, already running, no device)."""


class BusyError(RunError):
    """The run is being executed already."""


class ExecutorError(StemmaError):
    """An executor cannot be used: its package is missing, its cluster does not answer."""


class ManifestError(StemmaError):
    """A batch manifest cannot be read, does not fit the schema, or selects nothing."""
