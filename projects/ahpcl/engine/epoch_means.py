"""Means of the training signals over an epoch and over all ranks."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor

SIGNALS = ('acc_inst', 'acc_proto')


class EpochMeans:
    """Sums and counts of ``acc_inst`` and ``acc_proto``.

    The sums stay on the device; nothing waits for it before the epoch ends.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def update(self, outputs: dict, batch_size: int) -> None:
        """Add the means over ``batch_size`` images, where present."""
        for name in SIGNALS:
            if name not in outputs:
                continue
            value = torch.as_tensor(outputs[name]).detach().double()
            total = self._sums.get(name)
            value = value * batch_size
            self._sums[name] = value if total is None else total + value
            self._counts[name] = self._counts.get(name, 0) + batch_size

    def compute(self, device: torch.device) -> dict[str, float]:
        """Means over all ranks; a collective call. NaN where nothing came."""
        table = torch.zeros(len(SIGNALS), 2, dtype=torch.float64)
        table = table.to(device)
        for row, name in enumerate(SIGNALS):
            if name in self._sums:
                table[row, 0] = self._sums[name]
                table[row, 1] = self._counts[name]
        all_reduce(table)
        means = (table[:, 0] / table[:, 1]).tolist()
        return dict(zip(SIGNALS, means, strict=True))

    def state_dict(self) -> dict:
        """Plain numbers."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return dict(sums=sums, counts=dict(self._counts))

    def load_state_dict(self, state: dict) -> None:
        """Restore what :meth:`state_dict` gave."""
        self._sums = {
            name: torch.tensor(value, dtype=torch.float64)
            for name, value in state['sums'].items()
        }
        self._counts = dict(state['counts'])
