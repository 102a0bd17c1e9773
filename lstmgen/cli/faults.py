"""An error of the system, Python or torch -> what to tell of it; nothing where it is a bug of ours."""

from lstmgen.errors import reason

# As torch puts it; the last is of cuBLAS and cuDNN, which begin by taking some.
NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "ALLOC_FAILED",
             "STATUS_NOT_INITIALIZED")  # fmt: skip
NO_PRIMITIVE = "could not create a primitive"  # as oneDNN puts it, and no more
NO_DEVICE = ("no kernel image", "kernel image is invalid", "are busy or unavailable", "No CUDA GPUs",
             "no CUDA-capable device", "driver version is insufficient")  # fmt: skip
NO_THREAD = "can't start new thread"  # as Python puts it


def advice(error: Exception) -> str:
    """What is wrong, and what to do; empty where nobody can tell.

    Torch tells of memory and of devices by `RuntimeError`.
    """
    if isinstance(error, OSError):  # as of completion, which typer writes by itself
        return f"{error.filename or 'output'}: {reason(error)}; check the path, its permissions and the disk"
    if is_lack_of_memory(error):
        return (
            "not enough memory; give less text at once; to train, a lower --hidden-size, "
            "--embedding-size, --num-layers, --batch-size, --window, --max-vocab or --softmax-sample (of "
            "which 0 takes all symbols); if it is a GPU's, try --device cpu"
        )
    told = str(error)
    if NO_THREAD in told:
        return f"{told}; allow more processes, as by `ulimit -u`"
    if any(sign in told for sign in NO_DEVICE):
        return f"the GPU cannot be used ({told.splitlines()[0]}); give --device cpu"
    return ""


def is_lack_of_memory(error: BaseException | None) -> bool:
    """Whether an error tells of too little memory, or came up over one that did.

    Where a recording fails, what CUDA says of its end takes the place of why it failed.
    """
    if error is None:
        return False
    said = str(error)
    told = said == NO_PRIMITIVE or any(sign in said for sign in NO_MEMORY)
    return told or isinstance(error, MemoryError) or is_lack_of_memory(error.__context__)
