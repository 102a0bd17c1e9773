"""What there is to keep of a run -> files in its folder, as soon as they can be written."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lstmgen import checkpoint, folders, log_file
from lstmgen.checkpoint import SavedModel, SavedRun, Weights
from lstmgen.config import Position, TrainConfig
from lstmgen.errors import CheckpointError
from lstmgen.folders import LOG_FILE, MODEL_FILE, RUN_FILE
from lstmgen.holding import Hold
from lstmgen.run import Snapshot


class Keeper:
    """Writes a run's files; what cannot be written is kept, and tried again with what comes next.

    A new run takes the place of one that was there before as soon as it is itself to be kept; one that is
    resumed goes on from the position `before`. `model` is what all that is kept has in common: network,
    vocabulary and, as results, what is known of the corpus.
    """

    def __init__(self, hold: Hold, before: Position | None, model: SavedModel) -> None:
        self._hold, self._folder = hold, hold.folder
        self._new, self._common = before is None, model
        self._position_of_model = before or Position()  # when its best model was last written
        self._saved_step = before.step if before else 0
        # What the files that hold this run are known by, once it is saved.
        self._files: dict[str, folders.FileId | None] = {}
        if before:
            self._note_file(RUN_FILE)
        self._model: SavedModel | None = None
        self._run: SavedRun | None = None
        self._run_is_saved = False  # though it waits for its model
        self._lines: list[Mapping[str, Any]] = []

    @property
    def lacks_model(self) -> bool:
        """Whether there is no model in the folder, nor one that waits to be written."""
        return self._model is None and folders.is_missing(self._folder / MODEL_FILE)

    def has_unscored_model(self) -> bool:
        """Whether the model in the folder was kept without having been validated."""
        try:
            return "nats" not in checkpoint.load_results(self._folder)
        except CheckpointError:
            return False

    def require_room(self, at: Snapshot) -> None:
        """Make sure that the folder is still held, has room for such a run, and lets files be replaced."""
        self._hold.renew()
        for name in folders.OWN:
            if self._new or name != LOG_FILE:
                folders.require_replaceable(self._folder / name)
        if not self._new:
            log_file.require_writable(self._folder)
        carried = sum(array.nbytes for array in at.carried.values())
        checkpoint.require_room(self._folder, replace(self._common, weights=at.weights), carried)

    # What these are given waits for `try_to_write`.

    def keep_line(self, line: Mapping[str, Any]) -> None:
        self._lines.append(line)

    def keep_model(self, weights: Weights, results: Mapping[str, Any]) -> None:
        results = {**results, **self._common.results}
        self._model = replace(self._common, weights=weights, results=results)

    def keep_run(self, at: Snapshot, config: TrainConfig, position: Position) -> None:
        model = replace(self._common, weights=at.weights)
        self._run = SavedRun(model, config, at.carried, position)
        self._run_is_saved = False

    def try_to_write(self) -> str:
        """Write all that waits, or say what keeps it from being written."""
        try:
            self._hold.renew()
            try:
                self._write()
            finally:
                self._hold.note_files()
        except CheckpointError as error:
            return str(error)
        return ""

    def _write(self) -> None:
        if self._new:
            if self._run is None:
                return  # as nothing could take the place of what there may be
            folders.forget_run(self._folder)
            self._new = False
        try:
            if self._model is not None:
                checkpoint.save_model(self._folder / MODEL_FILE, self._model)
                self._note_file(MODEL_FILE)
                self._model = None
                if self._run is not None:
                    self._position_of_model = self._run.position
        finally:
            self._write_log_and_run()

    def _write_log_and_run(self) -> None:
        try:
            # The log first, as once the run is saved, the steps of these lines are not taken again. But a log
            # that cannot be written does not keep the run from being saved.
            while self._lines:
                log_file.append(self._folder, self._lines[0])
                self._lines.pop(0)
            if self._run is not None:
                log_file.sync(self._folder)
        finally:
            if self._run is not None:
                self._write_run(self._run)

    def _write_run(self, run: SavedRun) -> None:
        """Save a run that waits, and again once the model that waits with it has been written.

        While that cannot be, the run is saved with the best score of the model that is on the disk, so that
        it does not go on from one that was never written. But a run at its last step waits for its model: it
        would never report again.
        """
        if self._model is None:
            self._save_run(run)
            self._run = None
        elif not self._run_is_saved and run.position.step < run.training.num_steps:
            position = run.position.with_best_of(self._position_of_model)
            self._save_run(replace(run, position=position))
            self._run_is_saved = True

    def _save_run(self, run: SavedRun) -> None:
        checkpoint.save_run(self._folder / RUN_FILE, run)
        self._note_file(RUN_FILE)
        self._saved_step = run.position.step

    def _note_file(self, name: str) -> None:
        self._files[name] = folders.file_id(self._folder / name)

    def _is_there(self, name: str) -> bool:
        """Whether a file that holds this run is still there, as far as anybody can tell."""
        known = self._files.get(name)
        return known is not None and not folders.is_gone(self._folder / name, known)

    def what_is_lost(self, unwritten: str) -> CheckpointError:
        """What to say where a run ends and `unwritten` still keeps something from being written."""
        saved = "nothing of this run is saved"
        if self._is_there(RUN_FILE):
            saved = f"it is saved as of step {self._saved_step:,}, from which --resume goes on"
            if self._run is None:
                saved = "all but the end of its log is saved"
        elif self._is_there(MODEL_FILE):
            saved = "its model is saved, and nothing to go on from"
        return CheckpointError(f"{unwritten}; the run has ended: {saved}")
