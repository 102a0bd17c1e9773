"""The things a user can get wrong, as one small exception tree.

    LstmgenError
    ├── OptionError       a value that cannot be obeyed
    ├── CorpusError       text that cannot be read, or is too small
    ├── CheckpointError   a model file or folder that cannot be read, trusted or written
    ├── DeviceError       a device or precision that this machine does not have
    ├── TrainingError     a run that cannot go on
    └── OutputError       standard output that cannot be written

The message of each is one line that says what is wrong, which value, and what to do. A bug in the
calling code is a `ValueError` instead, and never ends up here.
"""


def reason(error: Exception) -> str:
    """What the system says is wrong, without the path, which our messages begin with."""
    return getattr(error, "strerror", None) or str(error)


class LstmgenError(Exception):
    """A mistake that the user can mend; the command line prints it and exits with code 1."""


class OptionError(LstmgenError):
    """A value that cannot be obeyed."""


class CorpusError(LstmgenError):
    """Text that cannot be read, or is too small for what is asked."""


class CheckpointError(LstmgenError):
    """A model file or folder that cannot be read, trusted or written."""


class DeviceError(LstmgenError):
    """A device or precision that this machine does not have."""


class TrainingError(LstmgenError):
    """A run that cannot go on."""


class OutputError(LstmgenError):
    """Standard output that cannot be written."""
