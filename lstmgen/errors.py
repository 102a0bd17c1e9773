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

# As torch puts it; the last is of cuBLAS and cuDNN, which begin by taking some.
NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "ALLOC_FAILED",
             "STATUS_NOT_INITIALIZED")  # fmt: skip


def is_lack_of_memory(error: BaseException | None) -> bool:
    """Whether an error tells of too little memory, or came up over one that did.

    Where a recording fails, what CUDA says of its end takes the place of why it failed.
    """
    if error is None:
        return False
    told = isinstance(error, MemoryError) or any(sign in str(error) for sign in NO_MEMORY)
    return told or is_lack_of_memory(error.__context__)


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
