"""What is timed, and how good a model gets in a given time: `make bench`, never part of `make test`."""
