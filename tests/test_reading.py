"""What a network makes of ids: the same side by side as one by one, and only what is wanted."""

from typing import Any

import numpy as np
import pytest
import torch
from engines import Stateless, random_weights, sized
from numpy.typing import NDArray

from lstmgen import reading
from lstmgen.batching import Streams
from lstmgen.cells import Cells
from lstmgen.model import TorchEngine, load_network
from lstmgen.reading import Engine, hidden_after, last_logits, logits_after, read_windows

CONFIG = sized("lstm")
WEIGHTS = random_weights(CONFIG)
ENGINES: dict[str, Engine] = {
    "numpy": Cells(CONFIG, WEIGHTS),
    "torch": TorchEngine(load_network(CONFIG, WEIGHTS, torch.device("cpu"))),
}


def some_ids(num_tokens: int) -> NDArray[np.uint8]:
    return np.random.default_rng(num_tokens).integers(0, CONFIG.vocab_size, num_tokens, np.uint8)


class Echo(Stateless):
    """Its logits say which id was read."""

    vocab_size = CONFIG.vocab_size

    def read(self, ids: NDArray[Any], state: Any) -> tuple[NDArray[Any], Any]:
        return np.eye(self.vocab_size)[ids], state


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize("tokens_read", [1, 7, 4096])
def test_texts_of_any_length_are_read_as_each_by_itself(
    engine: Engine, tokens_read: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TOKENS_READ", tokens_read)
    texts = [some_ids(n) for n in (5, 1, 17, 5, 2)]
    logits, state = logits_after(engine, texts)
    for row, text in enumerate(texts):
        hidden, after = engine.read(text[None], engine.initial_state(1))
        assert np.allclose(logits[row], last_logits(engine, hidden)[0], atol=1e-5)
        following = some_ids(3)[None]
        ahead, _ = engine.read(following, engine.select(state, [row]))
        assert np.allclose(ahead, engine.read(following, after)[0], atol=1e-5)


def test_hidden_is_that_of_the_last_token_alone() -> None:
    texts = [some_ids(4), some_ids(9)]
    hidden, _ = hidden_after(Echo(), texts)
    assert hidden.shape == (2, 1, CONFIG.vocab_size)
    assert hidden[:, 0].argmax(axis=-1).tolist() == [text[-1] for text in texts]


def test_logits_are_arrays_of_numpy_on_either_engine() -> None:
    for engine in ENGINES.values():
        hidden, _ = engine.read(some_ids(6).reshape(2, 3), engine.initial_state(2))
        logits = last_logits(engine, hidden)
        assert isinstance(logits, np.ndarray)
        assert logits.shape == (2, CONFIG.vocab_size)


def test_windows_give_each_target_once_with_its_place_and_what_stands_before() -> None:
    """Neither the warm-up of a stream nor the padding of a shorter one is among them."""
    ids, rows = some_ids(1001), list[int]()
    for hidden, targets, places in read_windows(Echo(), Streams(ids, 1, 4, 16, 10)):
        assert len(hidden) == len(targets) == len(places)
        assert targets.tolist() == ids[places].tolist()
        assert hidden.argmax(axis=-1).tolist() == np.where(places, ids[places - 1], 1).tolist()
        rows += places.tolist()
    assert sorted(rows) == list(range(1001))
