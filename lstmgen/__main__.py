"""`python -m lstmgen` is `lstmgen`."""

from lstmgen.cli import main

main()
