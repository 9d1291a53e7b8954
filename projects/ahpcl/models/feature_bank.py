"""Keys of the training pass, kept for the E-step."""

import torch
from torch import Tensor


class FeatureBank:
    """The last key of every image.

    The memory bank of Wu et al., CVPR 2018, for the E-step: what the key
    encoder computes for training anyway, of an augmented view and with the
    batch norm of its batch. Held whole by every rank: 655 MB for 1.28
    million images of 128 dimensions. No part of the model's state; the hook
    keeps it in the checkpoint.

    Args:
        num_images: N.
        feat_dim: D.
        device: Where training runs.
    """

    def __init__(
        self, num_images: int, feat_dim: int, device: torch.device
    ) -> None:
        self.rows = torch.zeros(num_images, feat_dim, device=device)
        self._known = torch.zeros(num_images, dtype=torch.bool, device=device)

    @property
    def complete(self) -> bool:
        """Whether every image has a key."""
        return bool(self._known.all())

    @torch.no_grad()
    def write(self, indices: Tensor, keys: Tensor) -> None:
        """Replace the keys of some images.

        Args:
            indices: ``sample_idx``, (B,) int64.
            keys: Unit rows, (B, D) float32.
        """
        self.rows.index_copy_(0, indices, keys)
        self._known.index_fill_(0, indices, True)

    def state_dict(self) -> dict[str, Tensor]:
        """Keys and which of them are known, on the CPU."""
        return dict(rows=self.rows.cpu(), known=self._known.cpu())

    def load_state_dict(
        self, state: dict[str, Tensor], places: Tensor | None = None
    ) -> None:
        """Go on with the keys of a checkpoint.

        Args:
            state: What :meth:`state_dict` gave.
            places: Where every image was in it, (N,) int64; -1 for new ones,
                which have no key yet. None for the same images.

        Raises:
            ValueError: if they are of other images or dimensions.
        """
        if places is not None:
            known = places >= 0
            places = places.clamp(min=0)
            state = dict(
                rows=state['rows'].cpu()[places],
                known=state['known'].cpu()[places] & known,
            )
        if state['rows'].shape != self.rows.shape:
            raise ValueError(
                f'expected a feature bank of shape {tuple(self.rows.shape)}, '
                f'got {tuple(state["rows"].shape)}: the checkpoint is of '
                'other images or another feat_dim'
            )
        self.rows.copy_(state['rows'])
        self._known.copy_(state['known'])
