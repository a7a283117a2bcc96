"""Arrays of an E-step under one vocabulary: NumPy on the CPU, torch on CUDA."""

import numpy as np


class NumpyArrays:
    """Arrays in this process's memory."""

    xp = np
    on_device = False

    def asarray(self, array):
        """A float64 array of the same values."""
        return np.asarray(array, dtype=np.float64)

    def empty(self, shape):
        """An uninitialised float64 array."""
        return np.empty(shape)

    def zeros(self, shape):
        """A float64 array of zeros."""
        return np.zeros(shape)

    def to_numpy(self, array):
        """The same values in this process's memory."""
        return array

    def transposed(self, rows, origin, buffer):
        """Rows (B, d) minus origin (d, 1), as (d, B) in a buffer that may be wider."""
        block = buffer[:, : len(rows)]
        np.copyto(block, rows.T)
        block -= origin
        return block


class TorchArrays:
    """Tensors on a torch device."""

    on_device = True

    def __init__(self, device):
        import torch

        self.xp = torch
        self.device = torch.device(device)

    def room(self):
        """Bytes of the device that rows may fill between passes: half of the free ones."""
        free, _ = self.xp.cuda.mem_get_info(self.device)
        return free / 2

    def asarray(self, array):
        """A float64 tensor on the device."""
        if isinstance(array, self.xp.Tensor):
            return array.to(self.device, self.xp.float64)
        return self.xp.tensor(array, device=self.device).to(self.xp.float64)

    def empty(self, shape):
        """An uninitialised float64 tensor on the device."""
        return self.xp.empty(shape, dtype=self.xp.float64, device=self.device)

    def zeros(self, shape):
        """A float64 tensor of zeros on the device."""
        return self.xp.zeros(shape, dtype=self.xp.float64, device=self.device)

    def to_numpy(self, tensor):
        """The same values in this process's memory."""
        return tensor.cpu().numpy()

    def transposed(self, rows, origin, buffer):
        """Rows (B, d) minus origin (d, 1), as (d, B) in a buffer that may be wider."""
        return self.xp.subtract(rows.T, origin, out=buffer[:, : len(rows)])


def arrays_on(device):
    """Return the arrays of a device name, "cpu" or "cuda" with an optional index."""
    return NumpyArrays() if device == "cpu" else TorchArrays(device)
