"""Lets a GPU repeat a function of tensors without Python: what it did once is recorded, and replayed.

A recurrent network asks for hundreds of small products one after the other, and torch takes longer to ask for
one of them than a GPU to do it. CUDA can record all that a function asks for, as a graph, and do it again
for the price of asking once.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as tree

PLAIN_CALLS = 3  # before the recording; in them libraries get ready for what they are asked for


class Recording:
    """Calls a function, the same one each time: as it is at first, then by its recording.

    It is told at each call and not kept, so that no cycle of references keeps alive what it belongs to. The
    function must do the same each time, to values of the same shapes, in tuples: numbers, and tensors on
    one CUDA device. It is given copies that stay where they are, of numbers too, as tensors. All else that
    it looks at is as it was when it was recorded, for good; only what tensors hold is as it is now.
    Random numbers are other ones each time, drawn by the seed and the generator that a plain call
    would use.
    """

    def __init__(self) -> None:
        self._calls = 0
        self._inputs: list[Tensor] = []
        self._graph: Any = None
        self._outputs: Any = None

    def __call__(self, function: Callable[..., Any], *values: Any) -> Any:
        """function(*values), and what that changes in place; the result's tensors are the caller's own."""
        given, form = tree.tree_flatten(values)
        if not self._calls:
            self._prepare(given)
        self._calls += 1
        for copy, value in zip(self._inputs, given, strict=True):
            copy.copy_(value) if isinstance(value, Tensor) else copy.fill_(value)
        inputs = tree.tree_unflatten(self._inputs, form)
        with torch.cuda.device(self._stream.device):
            if self._calls <= PLAIN_CALLS:
                return tree.tree_map(torch.clone, self._plainly(function, inputs))
            if self._graph is None:
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, stream=self._stream):
                    self._outputs = function(*inputs)
                self._graph = graph
            self._graph.replay()
            return tree.tree_map(torch.clone, self._outputs)

    def _plainly(self, function: Callable[..., Any], inputs: Any) -> Any:
        """As it is, on the stream that it will be recorded on."""
        here = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            result = function(*inputs)
        here.wait_stream(self._stream)
        return result

    def _prepare(self, given: list[Any]) -> None:
        where = next(value.device for value in given if isinstance(value, Tensor))
        self._stream = torch.cuda.Stream(where)  # type: ignore[no-untyped-call]
        self._inputs = [
            torch.empty_like(value) if isinstance(value, Tensor) else torch.zeros((), device=where)
            for value in given
        ]
