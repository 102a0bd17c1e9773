"""`lstmgen`, and `python -m lstmgen`."""

from lstmgen import leaving


def main() -> None:
    leaving.fill_streams()
    leaving.meet_signals()  # before all that takes time to import
    from lstmgen.cli import main as run

    run()


if __name__ == "__main__":
    main()
