"""What a run tells of itself: the fields of a line of its log, and the means since the last one."""

from dataclasses import replace
from math import log

import pytest
import torch

from lstmgen import stopwatch
from lstmgen.progress import Meter, Progress
from lstmgen.scoring import Score

REPORT = Progress(
    step=5,
    num_steps=20,
    epoch=1.23456,
    seconds=2.345,
    learning_rate=0.0123456,
    tokens_per_second=1234.5,
    train_nats_per_token=1.5,
    best=None,
)


def test_a_record_has_a_score_only_where_there_is_one() -> None:
    plain = REPORT.to_json()
    assert plain == {
        "step": 5,
        "num_steps": 20,
        "epoch": 1.2346,
        "seconds": 2.35,
        "learning_rate": 0.0123456,
        "tokens_per_second": 1234,
        "train_nats_per_token": 1.5,
    }
    score = Score(nats=20 * log(2), tokens=10, characters=40)
    scored = replace(REPORT, score=score, sample="never in the log", note="nor this").to_json()
    assert scored == plain | score.to_json()
    assert scored["bits_per_character"] == pytest.approx(0.5)


def test_a_meter_has_the_mean_of_what_was_added_and_the_tokens_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = iter([10.0, 14.0])
    monkeypatch.setattr(stopwatch, "now", lambda: next(now))
    meter = Meter(torch.device("cpu"))
    assert meter.nats_per_token() == 0.0  # of nothing
    meter.add(torch.tensor(6.0), 2)
    meter.add(torch.tensor(2.0), 6)
    assert meter.nats_per_token() == 1.0
    assert meter.tokens_per_second() == 2.0  # eight in four seconds
