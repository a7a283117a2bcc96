"""Functions of tensors, run once and then replayed as the torch operations that they were made of.

A Pyro program costs more to trace than a small network costs to train. Its torch operations alone,
on tensors of one shape, are a plain function again, which any thread may run.
"""

import torch
from torch.fx.experimental.proxy_tensor import make_fx

from probgen.programs.isolation import isolated


def record(function, inputs, noise, device="cpu"):
    """Run a function once, and return what it did.

    Parameters
    ----------
    function : callable
        From tensors to tensors, or a nest of them; without branches on the values of tensors.
        Parameters and other tensors that it finds elsewhere are looked up anew in each replay.
    inputs : sequence of Tensor
        Of the shapes that replays will have.
    noise : callable
        Returns the torch.Generator that replays draw from, in place of torch's global one.
    device : str, default="cpu"

    Returns
    -------
    recording : Recording

    Raises
    ------
    RuntimeError
        If the function branches on values.

    Examples
    --------
    >>> import torch
    >>> noise = torch.Generator().manual_seed(0)
    >>> recording = record(lambda X: X + torch.randn_like(X), [torch.zeros(2)], lambda: noise)
    >>> bool((recording(torch.ones(2)) == recording(torch.ones(2))).any())  # each replay draws anew
    False
    """
    with isolated(device):
        module = make_fx(function)(*inputs)
    draws_globally = False
    for node in module.graph.nodes:
        if node.op == "call_function" and _is_random(node.target):
            target = _with_generator(node.target)
            draws_globally |= target is None
            if target is not None:
                node.target = _Draw(target, noise)
    module.graph.eliminate_dead_code(
        lambda node: node.is_impure() or isinstance(node.target, _Draw)
    )
    module.recompile()
    return Recording(module, noise, device, draws_globally)


class Recording:
    """Operations of a function on tensors of one shape.

    Parameters
    ----------
    operations : torch.fx.GraphModule
    noise : callable
    device : str
    draws_globally : bool
        Whether an operation can draw from torch's global generator alone, which is then seeded from
        noise.
    """

    def __init__(self, operations, noise, device, draws_globally):
        self.operations, self.noise, self.device, self.draws_globally = (
            operations,
            noise,
            device,
            draws_globally,
        )

    def __call__(self, *inputs):
        if not self.draws_globally:
            return self.operations(*inputs)
        with isolated(self.device, draw_seed(self.noise())):
            return self.operations(*inputs)


class Replayed:
    """A function that is recorded for each shape of its inputs, and run as it is where that cannot
    be.

    Parameters
    ----------
    function : callable
        As for `record`.
    noise : callable
    device : str
    networks : torch.nn.Module, default=None
        What the function uses, if there is more of it than parameters: whether it trains, and
        running means.

    Attributes
    ----------
    recordings : dict
        By shapes and kinds of inputs; None for what cannot be recorded.
    """

    def __init__(self, function, noise, device, networks=None):
        self.function, self.noise, self.device, self.networks = function, noise, device, networks
        self.recordings: dict = {}

    def __call__(self, *inputs):
        inputs = [tensor.contiguous() for tensor in inputs]  # recorded views hold for one layout
        trains = self.networks is not None and self.networks.training
        key: tuple = (trains, torch.is_autocast_enabled(torch.device(self.device).type))
        key += tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self.recordings:
            self.recordings[key] = self._record(inputs)
        recording = self.recordings[key]
        if recording is not None:
            return recording(*inputs)
        with isolated(self.device, draw_seed(self.noise())):
            return self.function(*inputs)

    def _record(self, inputs):
        buffers = (
            []
            if self.networks is None
            else [(buffer, buffer.clone()) for buffer in self.networks.buffers()]
        )
        try:
            return record(self.function, inputs, self.noise, self.device)
        except RuntimeError:  # of torch, for a branch on values
            return None
        finally:
            with torch.no_grad():
                for (
                    buffer,
                    before,
                ) in buffers:  # running means have seen the batch that was run to record it
                    buffer.copy_(before)


def draw_seed(noise):
    """A seed for another generator, drawn from noise."""
    return int(torch.randint(2**62, (), generator=noise, device=noise.device))


class _Draw:
    """A random operation that draws from a generator of our own."""

    def __init__(self, operation, noise):
        self.operation, self.noise = operation, noise
        self.__name__ = self.__qualname__ = f"draw_{operation.__name__.replace('.', '_')}"
        self.__module__ = __name__

    def __call__(self, *args, **kwargs):
        return self.operation(*args, **{**kwargs, "generator": self.noise()})


def _is_random(operation):
    return (
        isinstance(operation, torch._ops.OpOverload)
        and torch.Tag.nondeterministic_seeded in operation.tags
    )


def _with_generator(operation):
    """The overload of a random operation that takes a generator, None if there is none."""
    packet = operation.overloadpacket
    own = operation._overloadname
    for name in (own, {"default": "generator", "low": "low_generator"}.get(own, own)):
        if name in packet.overloads():
            found = getattr(packet, name)
            if any(argument.name == "generator" for argument in found._schema.arguments):
                return found
    return None
