"""Labels of all images by optimal transport, as in SeLa."""

from dataclasses import dataclass

from mmengine.registry import TASK_UTILS
from torch import Tensor

from ahpcl.core.clustering.equal_codes import equal_labels


@TASK_UTILS.register_module()
@dataclass(frozen=True)
class SinkhornLabels:
    """Self-labelling for ``PseudoLabelHook``: all labels equally often.

    Asano et al., "Self-labelling via simultaneous clustering and
    representation learning", ICLR 2020. Different from the published runs:
    one classifier instead of ten, and a labelling every so many epochs
    instead of at growing distances.

    Attributes:
        power: Lambda of the paper.
        max_iter: Rounds of Sinkhorn and Knopp at most.
        tolerance: Tolerance of the label sizes, see
            :func:`ahpcl.core.equal_labels`.
    """

    power: float = 25.0
    max_iter: int = 200
    tolerance: float = 0.1
    reads: str = 'logits'

    def check(self, num_images: int, num_classes: int) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: if there are fewer images than labels or a number is
                out of range.
        """
        if num_images < num_classes:
            raise ValueError(
                f'expected at least as many images as labels, got '
                f'{num_images} for {num_classes}; lower '
                'model.head.num_classes'
            )
        if not (self.power > 0 and self.tolerance > 0 and self.max_iter > 0):
            raise ValueError(
                'expected power, tolerance and max_iter above 0, got '
                f'{self.power}, {self.tolerance} and {self.max_iter}'
            )

    def __call__(self, rows: Tensor, num_classes: int, *, seed: int) -> Tensor:
        """Logits (N, K) to labels (N,); nothing is drawn, ``seed`` or not."""
        assert rows.shape[1] == num_classes
        return equal_labels(
            rows.float().log_softmax(1),
            power=self.power,
            max_iter=self.max_iter,
            tolerance=self.tolerance,
        )
