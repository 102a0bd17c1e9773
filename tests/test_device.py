"""A name becomes a torch device and precision, or a clear refusal."""

import contextlib
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from lstmgen import device
from lstmgen.config import CellName, ModelConfig, Precision
from lstmgen.errors import DeviceError, OptionError
from lstmgen.initialization import initialize
from lstmgen.model import Network

CUDA = torch.cuda.is_available()
ON_CUDA = pytest.mark.skipif(not CUDA, reason="there is no CUDA device here")
MPS = torch.backends.mps.is_available()
CPU = torch.device("cpu")


def test_cpu_is_the_cpu() -> None:
    assert device.choose("cpu") == CPU


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(True, True, "cuda:0"), (True, False, "cuda:0"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_is_the_best_that_there_is(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.choose("auto") == torch.device(chosen)


@ON_CUDA
@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_first_cuda_device_is_chosen_where_there_is_one(name: str) -> None:
    assert device.choose(name) == torch.device("cuda", 0)


@pytest.mark.parametrize(
    "name",
    [
        "gpu",
        "",
        "cpu:1",
        "cpu:",
        "cuda:",
        "mps:",
        "cpu:0",
        "mps:0",
        "cuda:x",
        "cuda:-1",
        "cuda:1.0",
        "CUDA",
        "cuda0",
    ],
)
def test_name_of_no_device_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(OptionError, match=rf"--device '{name}' is not one of auto, cpu, cuda,"):
        device.choose(name)


@pytest.mark.skipif(CUDA, reason="there is a CUDA device here")
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:7"])
def test_cuda_is_refused_where_there_is_none(name: str) -> None:
    with pytest.raises(DeviceError, match=f"--device {name}: .*use --device cpu"):
        device.choose(name)


@pytest.mark.parametrize(("built_with", "told"), [(None, True), ("13.0", False)])
def test_a_torch_without_cuda_is_told_from_a_machine_without(
    monkeypatch: pytest.MonkeyPatch, built_with: str | None, told: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_with)
    with pytest.raises(DeviceError) as refused:
        device.choose("cuda")
    assert ("built without CUDA" in str(refused.value)) == told


@ON_CUDA
def test_cuda_device_beyond_the_last_is_refused_with_those_there_are() -> None:
    count = torch.cuda.device_count()
    with pytest.raises(DeviceError, match=r"(only cuda:0 is|cuda:0 to cuda:\d+ are) here"):
        device.choose(f"cuda:{count}")


def test_the_cuda_device_that_is_named_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    for number in range(3):
        assert device.choose(f"cuda:{number}") == torch.device("cuda", number)
    with pytest.raises(
        DeviceError, match="cuda:0 to cuda:2 are here; use one of them, or --device"
    ):
        device.choose("cuda:3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="only cuda:0 is here; use that, or --device cpu"):
        device.choose("cuda:1")


@pytest.mark.skipif(MPS, reason="there is an Apple GPU here")
def test_mps_is_refused_where_there_is_none() -> None:
    with pytest.raises(DeviceError, match=r"--device mps: .*use --device cpu"):
        device.choose("mps")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["cpu", "cuda", "mps"])
def test_precision_that_is_named_is_obeyed_on_every_device(
    monkeypatch: pytest.MonkeyPatch, precision: Precision, kind: str
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: kind == "cpu")
    assert device.choose_precision(precision, torch.device(kind)) == precision


def test_bfloat16_is_refused_where_a_processor_has_none_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(DeviceError, match=r"--precision bfloat16: .*use --precision float32"):
        device.choose_precision("bfloat16", CPU)
    assert device.choose_precision("float32", CPU) == "float32"
    # Without oneDNN torch's own layers are taken, which can.
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert device.choose_precision("bfloat16", CPU) == "bfloat16"


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_what_is_said_of_bfloat16_holds_for_a_network(cell: CellName) -> None:
    network = Network(ModelConfig(vocab_size=5, cell=cell, hidden_size=8, embedding_size=4))
    initialize(network, 0)
    precision: Precision = "bfloat16" if device.can_bfloat16(CPU) else "float32"
    with device.autocast(CPU, precision):
        logits, _ = network(torch.zeros(2, 3, dtype=torch.int64), network.initial_state(2))
        logits.float().sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    if precision == "float32" and cell == "lstm":
        with device.autocast(CPU, "bfloat16"), pytest.raises(RuntimeError):
            network(torch.zeros(2, 3, dtype=torch.int64), network.initial_state(2))


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"),
    [
        (False, False, "float32"),
        (True, False, "bfloat16"),
        (False, True, "bfloat16"),
    ],
)
def test_auto_precision_on_the_cpu_follows_its_matrix_units(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert device.choose_precision("auto", CPU) == expected


@pytest.mark.parametrize("real", [True, False])
def test_auto_precision_on_cuda_is_bfloat16_only_where_it_is_not_emulated(
    monkeypatch: pytest.MonkeyPatch, real: bool
) -> None:
    here = [torch.device("cuda:0")]  # which is asked of a machine with unlike cards

    @contextlib.contextmanager
    def on(where: torch.device) -> Iterator[None]:
        here.append(where)
        yield
        here.pop()

    def supported(including_emulation: bool = True) -> bool:
        return here[-1].index == 1 and (real or including_emulation)

    monkeypatch.setattr(torch.cuda, "device", on)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    expected = "bfloat16" if real else "float32"
    assert device.choose_precision("auto", torch.device("cuda:1")) == expected


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_matrix_products_under_autocast_have_the_precision_asked_for(
    precision: Precision, dtype: torch.dtype
) -> None:
    matrix = torch.ones(4, 4)
    with device.autocast(CPU, precision):
        assert (matrix @ matrix).dtype == dtype


def test_cpu_is_described_with_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for count, told in ((1, "cpu, 1 thread"), (7, "cpu, 7 threads")):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        assert device.describe(CPU) == told
    assert device.describe(CPU, 7) == "cpu, 7 threads"
    assert device.describe(CPU, 8) == "cpu, 7 of 8 threads, as many as get cores now"


def test_recurrent_layers_that_have_another_precision_are_told() -> None:
    gpu = torch.device("cuda")
    assert device.describe_precision(gpu, "bfloat16") == "bfloat16 (recurrent layers float16)"
    assert device.describe_precision(gpu, "float32") == "float32"
    assert device.describe_precision(CPU, "bfloat16") == "bfloat16"


def pages_are_huge() -> bool:
    """Whether the system gives 2 MB at once to whoever asks for 4 KB."""
    always = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return always.exists() and "[always]" in always.read_text()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
@pytest.mark.skipif(pages_are_huge(), reason="memory comes in few pages here, whatever is kept")
@pytest.mark.parametrize(("keep", "few"), [(True, True), (False, False)])
def test_memory_that_is_kept_is_not_cleared_anew_each_time(keep: bool, few: bool) -> None:
    code = f"""
import resource, torch
from lstmgen import device
assert not {keep} or device.keep_memory()
for _ in range(10):
    torch.ones(16 << 20)  # 64 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(16 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    pages = 10 * (64 << 20) // resource.getpagesize()  # of ten tensors
    assert (int(done.stdout) < pages / 10) is few


def test_float32_is_whole_on_cuda_and_afterwards_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where convolutions, which are none of ours, are set otherwise."""
    layers: Any
    layers, others = (torch.backends._FP32Precision("cuda", op) for op in ("rnn", "conv"))  # type: ignore[no-untyped-call]
    # What torch 2.9 and 2.10 leave there once a layer has come to CUDA: a module without the flag.
    monkeypatch.setattr(torch.backends.cudnn, "rnn", ModuleType("rnn"))
    cuda = torch.device("cuda")
    before = layers.fp32_precision, others.fp32_precision
    try:
        for outside, of_others in (("tf32", "ieee"), ("ieee", "tf32"), ("none", "tf32")):
            layers.fp32_precision, others.fp32_precision = outside, of_others
            kept = layers.fp32_precision  # "none" reads as what it stands for
            with device.whole_float32(CPU):
                assert layers.fp32_precision == kept
            with device.whole_float32(cuda):
                assert layers.fp32_precision == "ieee"
            with contextlib.suppress(ZeroDivisionError), device.whole_float32(cuda):
                assert 1 / 0
            assert layers.fp32_precision == kept
            assert others.fp32_precision == of_others
    finally:
        layers.fp32_precision, others.fp32_precision = before


@pytest.mark.parametrize(
    "where", [CPU, pytest.param(torch.device("cuda", 0), marks=ON_CUDA), torch.device("mps")]
)
def test_what_is_drawn_follows_from_the_seed_as_it_is_given(
    where: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(torch.mps, "manual_seed", told.append)
    here = CPU if where.type == "mps" else where
    drawn = []
    for draw, seed in enumerate((7, 2**63 - 1, 7)):
        device.seed(where, seed)
        assert torch.initial_seed() == device.short_seed(seed)
        drawn.append((torch.rand(2).tolist(), torch.rand(2, device=here).tolist()))
        assert told == ([7, 2**63 - 1, 7][: draw + 1] if where.type == "mps" else [])
    assert drawn[0] == drawn[2] != drawn[1]
    torch.manual_seed(7)
    assert torch.rand(2).tolist() == drawn[0][0]


def test_seeds_beyond_32_bits_are_seeds_of_their_own() -> None:
    """Of which torch's generator on the CPU would take the last 32 only."""
    drawn = []
    for seed in (3, 3 + 2**32, 3 + 2**40, 2**63 - 1):
        device.seed(CPU, seed)
        drawn.append(torch.rand(3).tolist())
    assert all(one not in drawn[:i] for i, one in enumerate(drawn))
    torch.manual_seed(3)
    assert torch.rand(3).tolist() == drawn[0]


@pytest.mark.parametrize("where", [CPU, pytest.param(torch.device("cuda", 0), marks=ON_CUDA)])
def test_what_is_sent_arrives_as_it_was_though_its_place_is_used_again(where: torch.device) -> None:
    numbers = torch.zeros(64, 64, dtype=torch.int64)
    sent = []
    for number in range(50):
        numbers.fill_(number)
        sent.append(device.send(numbers.clone(), where))
    assert all(there.device == where for there in sent)
    assert [int(there.float().mean()) for there in sent] == list(range(50))


@pytest.mark.parametrize(("kind", "waits"), [("cpu", []), ("cuda", ["cuda"]), ("mps", ["mps"])])
def test_a_gpu_is_waited_for(kind: str, waits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda where: waited.append(where.type))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    device.wait(torch.device(kind))
    assert waited == waits


def test_no_memory_of_a_gpu_is_counted_where_there_is_none() -> None:
    assert device.free_memory(CPU) == 0
