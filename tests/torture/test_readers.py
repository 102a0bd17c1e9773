"""Many read a model folder while a run writes to it: each sees a whole model, an old or a new one."""

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from engines import random_weights, score_of

from lstmgen import checkpoint, folders
from lstmgen.cells import Cells
from lstmgen.checkpoint import SavedModel
from lstmgen.config import ModelConfig
from lstmgen.vocabulary import Vocabulary

TEXT = "a bad cab\n" * 20


def test_every_reader_sees_a_whole_model(
    tmp_path: Path,
    letters: Vocabulary,
    times: Callable[[int, int], int],
    tally: Callable[[str, int], None],
) -> None:
    readers, path = times(4, 50), tmp_path / folders.MODEL_FILE
    models = []
    for size in (8, 80):  # so that a part of one could not pass for the other
        config = ModelConfig(vocab_size=len(letters), hidden_size=size, embedding_size=8)
        models.append(SavedModel(config, letters, random_weights(config, seed=size)))
    whole = [score_of(Cells(m.config, m.weights), letters, TEXT).nats for m in models]
    checkpoint.save_model(path, models[0])
    (tmp_path / "text").write_text(TEXT)
    written, over = 0, threading.Event()

    def write() -> None:
        nonlocal written
        for model in itertools.cycle(models):
            checkpoint.save_model(path, model)
            written += 1
            if over.is_set():
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(300):
            assert checkpoint.load_model(tmp_path).config in [model.config for model in models]
        command = [sys.executable, "-m", "lstmgen", "eval", "text", "--model", ".", "--json"]
        started = [
            subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(readers)
        ]
        nats = []
        for process in started:
            out, err = process.communicate(timeout=300)
            assert process.returncode == 0, err.decode()
            nats.append(json.loads(out)["nats"])
    finally:
        over.set()
        thread.join()
    assert written > 10
    for score in nats:
        assert min(abs(score - one) for one in whole) < 1e-4 * score
    tally(
        f"processes reading one folder at once, while {written:,} models are written to it", readers
    )
