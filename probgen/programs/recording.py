"""Functions of tensors, run once and then replayed as the torch operations they consisted of.

Tracing a Pyro program costs more than training a small network. On tensors of one shape, its torch
operations alone are a plain function, which any thread may run.
"""

import contextlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from probgen.programs.isolation import isolated_pyro_state

# Operations that are left out of a recording where they change nothing, as they often do in Pyro.
SHAPINGS = {
    torch.ops.aten.expand.default,
    torch.ops.aten.view.default,
    torch.ops.aten.slice.Tensor,
    torch.ops.aten.alias.default,
}


def record(
    function: Callable,
    inputs: Sequence[torch.Tensor],
    noise: Callable[[], torch.Generator],
    device: str = "cpu",
) -> "Recording":
    """Run a function once, and return the operations it ran.

    Parameters
    ----------
    function : callable
        From tensors to tensors, or a nest of them; without branches on the values of tensors.
        Parameters and other tensors that it reads from elsewhere are read anew in each replay.
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
    recorder = _Recorder(inputs)
    with isolated_pyro_state(device), _without_autocast_cache(), recorder:
        outputs = function(*inputs)
    module = recorder.module(outputs)
    _negate_after_sums(module.graph)
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
        Whether an operation can only draw from torch's global generator, which is then seeded from
        noise.
    """

    def __init__(
        self,
        operations: torch.fx.GraphModule,
        noise: Callable[[], torch.Generator],
        device: str,
        draws_globally: bool,
    ) -> None:
        self.operations = operations
        self.noise = noise
        self.device = device
        self.draws_globally = draws_globally

    def __call__(self, *inputs: torch.Tensor) -> Any:
        if not self.draws_globally:
            return self.operations(*inputs)
        with isolated_pyro_state(self.device, draw_seed(self.noise())):
            return self.operations(*inputs)


class Replayed:
    """A function that is recorded once for each shape of its inputs, and then replayed.

    A function that branches on values cannot be recorded; it runs anew in every call.

    Parameters
    ----------
    function : callable
        As for `record`.
    noise : callable
    device : str
    networks : torch.nn.Module, default=None
        Modules that the function uses, if it depends on more than their parameters: on their
        training mode and running means.

    Attributes
    ----------
    recordings : dict
        By shapes and kinds of inputs; None for what cannot be recorded.
    """

    def __init__(
        self,
        function: Callable,
        noise: Callable[[], torch.Generator],
        device: str,
        networks: torch.nn.Module | None = None,
    ) -> None:
        self.function = function
        self.noise = noise
        self.device = device
        self.networks = networks
        self.recordings: dict = {}

    def __call__(self, *inputs: torch.Tensor, is_recorded: bool = True) -> Any:
        """Return what the function returns, its draws taken from `noise`.

        Parameters
        ----------
        *inputs : Tensor
        is_recorded : bool, default=True
            Whether to replay a recording; otherwise the function runs anew. The two draw different
            numbers from the same noise.
        """
        inputs = tuple(tensor.contiguous() for tensor in inputs)  # recorded views need one layout
        recording = self._recording(inputs) if is_recorded else None
        if recording is not None:
            return recording(*inputs)
        with isolated_pyro_state(self.device, draw_seed(self.noise())):
            return self.function(*inputs)

    def _recording(self, inputs):
        """The recording for inputs of these shapes, or None."""
        is_training = self.networks is not None and self.networks.training
        key: tuple = (is_training, torch.is_autocast_enabled(torch.device(self.device).type))
        key += tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        if key not in self.recordings:
            self.recordings[key] = self._record(inputs)
        return self.recordings[key]

    def _record(self, inputs):
        buffers = [] if self.networks is None else list(self.networks.buffers())
        values = [buffer.clone() for buffer in buffers]
        try:
            return record(self.function, inputs, self.noise, self.device)
        except RuntimeError:  # the function branches on values
            return None
        finally:
            # The batch of the recording must not count twice in running means.
            with torch.no_grad():
                for buffer, value in zip(buffers, values):
                    buffer.copy_(value)


def draw_seed(noise):
    """A seed for another generator, drawn from noise."""
    return int(torch.randint(2**62, (), generator=noise, device=noise.device))


class _Recorder(TorchDispatchMode):
    """Runs torch operations, and adds each of them to a graph.

    `torch.fx.experimental.proxy_tensor.make_fx` builds the same graph; it also builds fake tensors
    of all results, which takes ten times as long as all the rest.
    """

    def __init__(self, inputs):
        super().__init__()
        self.root = torch.nn.Module()
        self.graph = torch.fx.Graph()
        self.nodes = WeakTensorKeyDictionary()
        self.n_attributes = 0
        # Tensors with the same values in every replay, which may be read in the function.
        self.constants = WeakTensorKeyDictionary()
        for index, tensor in enumerate(inputs):
            self.nodes[tensor] = self.graph.placeholder(f"input_{index}")

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = {} if kwargs is None else kwargs
        is_constant = not _is_random(operation) and all(
            leaf in self.constants
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, torch.Tensor)
        )
        is_literal = operation is torch.ops.aten.lift_fresh.default  # such as torch.tensor(1.0)
        if torch.Tag.data_dependent_output in operation.tags and not is_constant:
            raise RuntimeError(f"{operation} reads values, which differ from replay to replay.")
        result = operation(*args, **kwargs)
        if operation in SHAPINGS and _is_same_view(result, args[0]):
            self._track(result, self._node(args[0]), is_constant)
            return result
        node = self.graph.call_function(operation, *self._as_nodes((args, kwargs)))
        if isinstance(result, torch.Tensor):
            self._track(result, node, is_constant or is_literal)
        elif isinstance(result, list | tuple):
            for index, part in enumerate(result):
                if isinstance(part, torch.Tensor):
                    item = self.graph.call_function(operator.getitem, (node, index))
                    self._track(part, item, is_constant)
        return result

    def module(self, outputs):
        """The graph with these outputs, a nest of tensors, as a module."""
        self.graph.output(self._as_nodes(outputs))
        return torch.fx.GraphModule(self.root, self.graph)

    def _track(self, tensor, node, is_constant):
        """Remember the node of a tensor, a new one or one that was changed in place."""
        self.nodes[tensor] = node
        if is_constant:
            self.constants[tensor] = True
        else:
            self.constants.pop(tensor, None)

    def _as_nodes(self, nest):
        return tree_map_only(torch.Tensor, self._node, nest)

    def _node(self, tensor):
        """The node of a tensor; one that comes from elsewhere becomes an attribute."""
        if tensor not in self.nodes:
            name = f"tensor_{self.n_attributes}"
            self.n_attributes += 1
            setattr(self.root, name, tensor)
            self.nodes[tensor] = self.graph.get_attr(name)
        return self.nodes[tensor]


@contextlib.contextmanager
def _without_autocast_cache():
    """Cast weights within the body, and not take casts that were made before."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _negate_after_sums(graph):
    """Replace sums of negated tensors by negated sums, which have the same bits.

    Log-densities such as the Bernoulli's are negated losses of single features. This saves a pass
    over the features, and one more in the gradient.
    """
    for node in list(graph.nodes):
        if node.target is not torch.ops.aten.sum.dim_IntList:
            continue
        negated = node.args[0]
        if negated.target is not torch.ops.aten.neg.default or len(negated.users) > 1:
            continue
        node.args = (negated.args[0], *node.args[1:])
        with graph.inserting_after(node):
            negation = graph.call_function(torch.ops.aten.neg.default, (node,))
        node.replace_all_uses_with(negation, delete_user_cb=lambda user, own=negation: user != own)
        graph.erase_node(negated)


class _Draw:
    """A random operation that draws from a generator of our own."""

    def __init__(self, operation, noise):
        self.operation = operation
        self.noise = noise
        self.__name__ = self.__qualname__ = f"draw_{operation.__name__.replace('.', '_')}"
        self.__module__ = __name__

    def __call__(self, *args, **kwargs):
        return self.operation(*args, **{**kwargs, "generator": self.noise()})


def _is_same_view(tensor, base):
    return tensor.shape == base.shape and tensor.stride() == base.stride()


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
            overload = getattr(packet, name)
            if any(argument.name == "generator" for argument in overload._schema.arguments):
                return overload
    return None
