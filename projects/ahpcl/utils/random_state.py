"""Global random generators that are put back."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def random_state_kept(
    seed: int | None = None, device: torch.device | None = None
) -> Iterator[None]:
    """Put the generators of torch, NumPy and Python back afterwards.

    Args:
        seed: Seed of all of them meanwhile; None leaves them as they are.
        device: Device whose generator is put back, too; None for the CPU's
            alone.
    """
    devices = []
    if device is not None and device.type == 'cuda':
        devices = [device]
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed % (1 << 32))
            # torch.manual_seed would seed devices that are not put back.
            torch.default_generator.manual_seed(seed)
            for own in devices:
                with torch.cuda.device(own):
                    torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
