"""`lstmgen`, and `python -m lstmgen`."""

import gc
import os

from lstmgen import leaving

# For how many cycles a thread of NumPy's products (OpenBLAS) waits for more work before it sleeps, as a power
# of two; 26 where nothing is said. Where other programs want the cores, threads that wait hold up the one
# that they wait for: commands took up to twenty times as long. With 17 they sleep, and are woken, between the
# network's products on an older processor, by which a text took half as long again
# (tests/benchmarks/LOG.md).
WAITING = ("OPENBLAS_THREAD_TIMEOUT", "18")
# How many objects come before Python looks for cycles among them, of which hardly any are made here: while
# torch is imported it would look hundreds of times.
OBJECTS = 100_000


def main() -> None:
    leaving.fill_streams()
    leaving.meet_signals()  # before all that takes time to import
    os.environ.setdefault(*WAITING)  # before NumPy is
    gc.set_threshold(OBJECTS)
    from lstmgen.cli import main as run

    try:
        run()
    finally:
        gc.freeze()  # or Python would look through all objects once more, in torch's case for half a second


if __name__ == "__main__":
    main()
