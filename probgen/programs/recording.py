"""Functions of tensors, run once and then replayed as the torch operations they consisted of.

Tracing a Pyro program costs more than training a small network. On tensors of one shape, its torch
operations alone are a plain function, which any thread may run.
"""

import contextlib
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
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
# Operations whose results have shapes that follow from tensors of these types, if they take any.
MASKINGS = {torch.ops.aten.index.Tensor, torch.ops.aten.masked_select.default}
MASK_TYPES = {torch.bool, torch.uint8}
# Methods that take values, or hooks of gradients, past the operations of torch.
UNRECORDED = {
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    torch.Tensor.__array__,
    torch.Tensor.__dlpack__,
    torch.Tensor.register_hook,
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
        From tensors to tensors, or a nest of them; without branches on the values of tensors, and
        without gradients of its own, as a torch.autograd.Function or a hook has. Parameters and
        other tensors that it reads from elsewhere are read anew in each replay.
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
        If replays would not do what the function does.

    Examples
    --------
    >>> import torch
    >>> noise = torch.Generator().manual_seed(0)
    >>> recording = record(lambda X: X + torch.randn_like(X), [torch.zeros(2)], lambda: noise)
    >>> bool((recording(torch.ones(2)) == recording(torch.ones(2))).any())  # each replay draws anew
    False
    """
    recorder = _Recorder(inputs)
    with (
        isolated_pyro_state(device),
        _without_autocast_cache(),
        torch.enable_grad(),  # a recording made without gradients may be replayed with them
        _Refusal(recorder),
        recorder,
    ):
        outputs = function(*inputs)
    module = recorder.module(outputs)
    _negate_after_sums(module.graph)
    module.graph.eliminate_dead_code()  # keeps draws and changes in place
    draws_globally = False
    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        if _is_random(node.target):
            target = _with_generator(node.target)
            draws_globally |= target is None
            if target is not None:
                node.target = _draw_from(noise, target)
        if not node.meta.get("has_gradient", True):
            node.target = _without_gradient(node.target)
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

    A function that cannot be recorded, such as one that branches on values, runs anew in every
    call.

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
        except RuntimeError:  # the function branches on values, for instance
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
        # Results of operations under torch.no_grad(), and results of MASKINGS by masks that vary.
        self.without_gradient = WeakTensorKeyDictionary()
        self.varying_shape = WeakTensorKeyDictionary()
        for index, tensor in enumerate(inputs):
            self.nodes[tensor] = self.graph.placeholder(f"input_{index}")

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        is_constant = all(tensor in self.constants for tensor in tensors)
        if operation is torch.ops.aten.lift_fresh.default:  # a literal such as torch.tensor(1.0)
            # A copy, as the function may change it in place in every replay.
            operation = torch.ops.aten.lift_fresh_copy.default
            is_constant = True
        if _is_random(operation):
            is_constant = False
        self._check(operation, args, kwargs, is_constant)
        result = operation(*args, **kwargs)
        has_gradient = torch.is_grad_enabled()
        if operation in SHAPINGS and has_gradient and _is_same_view(result, args[0]):
            self._track(result, self._node(args[0]), is_constant)
            return result
        node = self.graph.call_function(operation, *self._as_nodes((args, kwargs)))
        node.meta["has_gradient"] = has_gradient
        if not has_gradient:
            for part in tree_leaves(result):
                if isinstance(part, torch.Tensor) and all(part is not own for own in tensors):
                    self.without_gradient[part] = True
        if not is_constant:
            self._drop_constants(operation, args, kwargs)
        if isinstance(result, torch.Tensor):
            node.meta["is_floating"] = result.is_floating_point()
            self._track(result, node, is_constant)
        elif isinstance(result, list | tuple):
            for index, part in enumerate(result):
                if isinstance(part, torch.Tensor):
                    item = self.graph.call_function(operator.getitem, (node, index))
                    self._track(part, item, is_constant)
        if operation in MASKINGS and any(self._is_varying_mask(tensor) for tensor in tensors):
            self.varying_shape[result] = True
        return result

    def module(self, outputs):
        """The graph with these outputs, a nest of tensors, as a module."""
        self.graph.output(self._as_nodes(outputs))
        return torch.fx.GraphModule(self.root, self.graph)

    def _check(self, operation, args, kwargs, is_constant):
        """Raise if replays of the operation would not do what the function does."""
        tags = operation.tags
        if torch.Tag.data_dependent_output in tags and not is_constant:
            raise RuntimeError(f"{operation} reads values, which differ from replay to replay.")
        has_fixed_shape = is_constant or operation in MASKINGS
        if torch.Tag.dynamic_output_shape in tags and not has_fixed_shape:
            raise RuntimeError(f"The shapes of {operation} differ from replay to replay.")
        if torch.Tag.inplace_view in tags:
            node = self._node(args[0])
            if sum(other is node for other in self.nodes.values()) > 1:
                raise RuntimeError(f"{operation} reshapes one of several views of a tensor.")
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, torch.Generator | torch.ScriptObject):
                raise RuntimeError(f"{operation} takes an object that a graph cannot hold.")

    def _is_varying_mask(self, tensor):
        """Whether a tensor is a mask that differs from replay to replay."""
        is_mask = tensor.dtype in MASK_TYPES
        return is_mask and tensor not in self.constants and self._node(tensor).op != "get_attr"

    def _track(self, tensor, node, is_constant):
        """Remember the node of a tensor, a new one or one that was changed in place."""
        self.nodes[tensor] = node
        if is_constant:
            self.constants[tensor] = True

    def _drop_constants(self, operation, args, kwargs):
        """Forget the constants whose memory an operation writes other values to."""
        arguments = operation._schema.arguments
        values = {argument.name: value for argument, value in zip(arguments, args)} | kwargs
        written = [values.get(argument.name) for argument in arguments if argument.is_write]
        for tensor in tree_leaves(written):
            if isinstance(tensor, torch.Tensor):
                for constant in list(self.constants):
                    if _share_memory(constant, tensor):
                        del self.constants[constant]

    def _as_nodes(self, nest):
        return tree_map_only(torch.Tensor, self._node, nest)

    def _node(self, tensor):
        """The node of a tensor; one that comes from elsewhere becomes an attribute."""
        if tensor not in self.nodes:
            name = f"tensor_{self.n_attributes}"
            self.n_attributes += 1
            setattr(self.root, name, tensor)
            self.nodes[tensor] = self.graph.get_attr(name)
        if tensor in self.without_gradient and tensor.grad_fn is not None:
            raise RuntimeError("A torch.autograd.Function has a gradient that is not recorded.")
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
        # Negation of integers may wrap around, and the tensor may change before the sum.
        if not negated.meta["is_floating"] or not _are_pure(negated, node):
            continue
        node.args = (negated.args[0], *node.args[1:])
        with graph.inserting_after(node):
            negation = graph.call_function(torch.ops.aten.neg.default, (node,))
        node.replace_all_uses_with(negation, delete_user_cb=lambda user, own=negation: user != own)
        graph.erase_node(negated)


def _are_pure(first, last):
    """Whether the nodes from one to another have gradients and change nothing in place."""
    node = first
    while node is not last.next:
        if not node.meta.get("has_gradient", True):
            return False
        if _is_operation(node.target) and node.target._schema.is_mutable:
            return False
        node = node.next
    return True


class _Refusal(TorchFunctionMode):
    """Raises for what replays would not repeat, as it goes past the operations of torch."""

    def __init__(self, recorder):
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in UNRECORDED and args[0] not in self.recorder.constants:
            raise RuntimeError(f"{function} is not among the operations that can be replayed.")
        if function is not torch.Tensor.__setitem__:  # as in Y[mask] = X[mask]
            for leaf in tree_leaves((args, kwargs)):
                if isinstance(leaf, torch.Tensor) and leaf in self.recorder.varying_shape:
                    raise RuntimeError(f"{function} gets a tensor whose shape depends on values.")
        return function(*args, **kwargs)


def _draw_from(noise, operation):
    """A random operation that draws from a generator of our own."""

    def draw(*args, **kwargs):
        return operation(*args, **{**kwargs, "generator": noise()})

    return draw


def _without_gradient(operation):
    """An operation that runs under torch.no_grad()."""

    def run(*args, **kwargs):
        with torch.no_grad():
            return operation(*args, **kwargs)

    return run


def _share_memory(first, second):
    return first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()


def _is_same_view(tensor, base):
    return tensor.shape == base.shape and tensor.stride() == base.stride()


def _is_operation(target):
    return isinstance(target, torch._ops.OpOverload)


def _is_random(operation):
    return _is_operation(operation) and torch.Tag.nondeterministic_seeded in operation.tags


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
