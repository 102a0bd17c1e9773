"""Model files from strangers: whatever is done to one, it is refused in a line or is still a model."""

import hashlib
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engines import random_weights

from lstmgen import checkpoint
from lstmgen.checkpoint import SavedModel
from lstmgen.config import CorpusConfig, ModelConfig, TrainConfig
from lstmgen.corpus import Text
from lstmgen.dataset import prepare
from lstmgen.errors import CheckpointError
from lstmgen.folders import RUN_FILE
from lstmgen.job import Job
from lstmgen.model import Network
from lstmgen.optim import Optimizer
from lstmgen.run import Run
from lstmgen.training import train
from lstmgen.vocabulary import Vocabulary

KEPT = sorted((Path(__file__).parent / "damaged").iterdir())
CONFIG = ModelConfig(vocab_size=4, num_layers=2, hidden_size=3, embedding_size=2)
VOCABULARY = Vocabulary("char", "prose", ("<unk>", "\n", "é", "中"))
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 4, 2**31, 2**53, 2**63, 2**64, 10**30, 10**400),
    *(0.5, 1e308, 1e999),
    *("", "F32", "F16", "F64", "BF16", "I64", "BOOL", "lstm", "gru", "word", "é", "\0", "\ud800"),
    *([], [0], [0, 0], [2**62, 2**62], [-1], {}, {"a": 1}, "a" * 5000, [[[[]]]], "NaN", -0.0),
    *("\x1b[31m", "<unk>", "\n", "../../etc/passwd", "embedding.weight"),
]


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    model = SavedModel(CONFIG, VOCABULARY, random_weights(CONFIG, seed=1), {"nats": 0.5, "step": 3})
    checkpoint.save_model(tmp_path / "whole", model)
    return (tmp_path / "whole").read_bytes()


def parts(raw: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """The table of arrays, the description, and the bytes of the arrays."""
    start = 8 + int.from_bytes(raw[:8], "little")
    table = json.loads(raw[8:start])
    description = json.loads(json.loads(table.pop("__metadata__")["lstmgen"])["description"])
    return table, description, raw[start:]


def sealed(table: Any, description: Any, payload: bytes, luck: random.Random) -> bytes:
    """A file that is right as far as its digest goes, as a stranger would make it."""
    plain = json.dumps(description, sort_keys=True)
    inner = json.dumps([plain, table], sort_keys=True).encode()
    digest = hashlib.sha256(inner + payload).hexdigest()
    version = 1 if luck.random() < 0.95 else luck.choice(ODD)
    envelope = {"format": version, "sha256": digest, "description": plain}
    metadata = {"__metadata__": {"lstmgen": json.dumps(envelope)}}
    header = json.dumps({**metadata, **table} if isinstance(table, dict) else table).encode()
    if luck.random() < 0.02:
        header = header[:-1] + b"," + header[1:]  # every name twice
    return len(header).to_bytes(8, "little") + header + payload


def altered(value: Any, luck: random.Random) -> Any:
    """The value with something in it replaced, removed, added or put in another place."""
    if isinstance(value, dict) and value and luck.random() < 0.85:
        name = luck.choice(list(value))
        changed = dict(value)
        match luck.random():
            case x if x < 0.1:
                del changed[name]
            case x if x < 0.2:
                changed[luck.choice(["", "a", name + "2", name.upper()])] = changed[name]
            case x if x < 0.3:
                other = luck.choice(list(value))
                changed[name], changed[other] = changed[other], changed[name]
            case _:
                changed[name] = altered(changed[name], luck)
        return changed
    if isinstance(value, list) and value and luck.random() < 0.7:
        place = luck.randrange(len(value))
        match luck.random():
            case x if x < 0.2:
                return value[:place] + value[place + 1 :]
            case x if x < 0.4:
                return [*value, luck.choice(value)]
            case x if x < 0.5:
                return luck.sample(value, len(value))
            case _:
                return [*value[:place], altered(value[place], luck), *value[place + 1 :]]
    if type(value) is int and luck.random() < 0.5:
        return value + luck.choice([-8, -4, -1, 1, 4, 8, 2**32])
    return luck.choice(ODD)


def damaged(raw: bytes, luck: random.Random) -> bytes:
    kind = luck.random()
    if kind < 0.1:
        return raw[: luck.randrange(len(raw))]
    if kind < 0.3:
        changed = bytearray(raw)
        for _ in range(luck.choice([1, 1, 2, 8])):
            changed[luck.randrange(len(raw))] = luck.randrange(256)
        return bytes(changed)
    if kind < 0.35:
        place = luck.randrange(len(raw))
        return raw[:place] + luck.randbytes(luck.choice([1, 8, 1000])) + raw[place:]
    table, description, payload = parts(raw)
    if kind < 0.4:
        numbers = np.frombuffer(payload, np.float32).copy()
        numbers[luck.randrange(len(numbers))] = luck.choice([np.nan, np.inf, -np.inf, 1e38, 0.0])
        return sealed(table, description, numbers.tobytes(), luck)
    if kind < 0.7:
        table = altered(table, luck)
    else:
        description = altered(description, luck)
    return sealed(table, description, payload, luck)


def refusing(path: Path) -> SavedModel:
    """The model in a file; what refuses it must be one short line that names the file."""
    try:
        return checkpoint.load_model(path)
    except CheckpointError as error:
        told = str(error)
        if not (told.startswith(f"{path}: ") and len(told) < 1000 and "\n" not in told):
            raise AssertionError(told) from error
        raise


def test_damaged_files_are_refused_or_still_models(
    tmp_path: Path,
    whole: bytes,
    times: Callable[[int, int], int],
    tally: Callable[[str, int], None],
) -> None:
    cases, luck, path, slowest, worked = (
        times(1000, 20_000),
        random.Random(0),
        tmp_path / "m",
        0.0,
        0,
    )
    for _ in range(cases):
        path.write_bytes(damaged(whole, luck))
        began = time.process_time()
        model = None
        with suppress(CheckpointError):
            model = refusing(path)
        if model is not None:
            worked += 1
            assert model.config.vocab_size == len(model.vocabulary)
            for name, shape in model.config.weight_shapes().items():
                assert model.weights[name].shape == shape
                assert np.isfinite(model.weights[name]).all()
        slowest = max(slowest, time.process_time() - began)
    assert 0 < worked < cases / 2  # a change in a comment does no harm, and little else is one
    assert slowest < 1
    tally("damaged or forged model files", cases)


def test_damaged_runs_are_refused_or_can_be_gone_on_with(
    tmp_path: Path, times: Callable[[int, int], int], tally: Callable[[str, int], None]
) -> None:
    data = prepare(Text("story", "é中\n" * 40), CorpusConfig(), seed=0, known=VOCABULARY)
    training = TrainConfig(num_steps=2, report_every=1, batch_size=4, window=5)
    list(train(Job(tmp_path, data, CONFIG, training, torch.device("cpu"))))
    path = tmp_path / RUN_FILE
    whole, cases, luck, worked = path.read_bytes(), times(300, 20_000), random.Random(0), 0
    for _ in range(cases):
        path.write_bytes(damaged(whole, luck))
        try:
            saved = checkpoint.load_run(tmp_path)
            network = Network(saved.model.config)
            state = network.initial_state(saved.training.batch_size)
            run = Run(network, Optimizer(network, saved.training), state)
            run.resume(saved, tmp_path)
        except CheckpointError as error:
            told = str(error)
            assert told.startswith(f"{path}: "), told
            assert len(told) < 1000, told
            assert "\n" not in told, told
        else:
            worked += 1
            assert run.step == saved.position.step
    assert 0 < worked < cases / 2
    tally("damaged or forged files of a run", cases)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_a_file_of_each_kind_is_refused(path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a model or run of lstmgen, or damaged"):
        checkpoint.load_model(path)


HUGE: dict[str, Callable[[], bytes]] = {
    "nesting": lambda: b"[" * 74_000_000,
    "empty lists": lambda: b"[" + b"[]," * 24_000_000 + b"[]]",
    "short strings": lambda: b"[" + b'"",' * 24_000_000 + b'""]',
    "one string": lambda: b'{"__metadata__":{"lstmgen":"' + b"a" * 74_000_000 + b'"}}',
    "blanks": lambda: b"{" + b" " * 74_000_000 + b"}",
    "digits": lambda: b"[" + b"1" * 74_000_000 + b"]",
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is asked of /proc")
@pytest.mark.parametrize("payload", [0, 1 << 30], ids=["alone", "with a gigabyte of nothing"])
@pytest.mark.parametrize("what", HUGE)
def test_a_huge_header_takes_neither_time_nor_memory(
    tmp_path: Path, what: str, payload: int, tally: Callable[[str, int], None]
) -> None:
    header, path = HUGE[what](), tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + payload)  # which takes no room on the disk
    code = (
        "import re, sys, time; from lstmgen import checkpoint, errors\n"
        "began = time.process_time()\n"
        "try: checkpoint.load_model(sys.argv[1])\n"
        "except errors.CheckpointError as error: print(error)\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "print(time.process_time() - began, peak)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    told, figures = done.stdout.splitlines()
    seconds, kilobytes = map(float, figures.split())
    assert "damaged" in told
    assert seconds < 1.5
    assert kilobytes < 200_000
    tally(f"header of {len(header) // 10**6} MB: {what}", 1)


def test_no_pickle_is_ever_opened() -> None:
    code = (
        "import sys; from lstmgen import checkpoint, errors\n"
        "sys.addaudithook(lambda name, _: name.startswith('pickle') and sys.exit(3))\n"
        "for path in sys.argv[1:]:\n"
        "    try: checkpoint.load_model(path)\n"
        "    except errors.CheckpointError: pass\n"
    )
    demo = Path(checkpoint.__file__).parent / "demo.safetensors"
    subprocess.run([sys.executable, "-c", code, str(demo), *map(str, KEPT)], check=True)


def test_links_are_followed_and_those_to_nothing_refused(tmp_path: Path, whole: bytes) -> None:
    link, nothing, loop = (tmp_path / name for name in ("link", "nothing", "loop"))
    link.symlink_to(tmp_path / "whole")
    assert checkpoint.load_model(link).config == CONFIG
    nothing.symlink_to(tmp_path / "nowhere")
    loop.symlink_to(loop)
    for path in (nothing, loop):
        with pytest.raises(CheckpointError, match=path.name):
            checkpoint.load_model(path)
