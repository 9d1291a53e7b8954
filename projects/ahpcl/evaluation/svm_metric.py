"""Linear SVMs on a few labelled images of every class."""

from collections.abc import Sequence

from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core.metrics.low_shot import low_shot_svm

from .feature_metric import FeatureMetric, check_reference_classes


@METRICS.register_module()
class SVMMetric(FeatureMetric):
    """Low-shot SVMs as in PCL's VOC07 protocol, logged as ``svm/...``.

    Top-1 in percent for every number of labelled images of a class, mean and
    standard deviation over draws: ``k1``, ``k1_std``, ..., ``full``. Labelled
    are images with the role 'reference', tested those with the role 'query'.
    A number that some class cannot give is left out.

    Args:
        shots: Labelled images of every class.
        full: Whether to train once on all references, too.
        draws: Draws for every number of shots.
        costs: Costs of the SVM; several are compared by cross-validation,
            which takes five times as long for each of them. By default those
            of PCL's code.
        seed: Seed of the draws.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.
    """

    default_prefix = 'svm'

    def __init__(
        self,
        shots: Sequence[int] = (1, 2, 4, 8, 16),
        full: bool = True,
        draws: int = 5,
        costs: Sequence[float] = (0.5,),
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.shots = tuple(shots)
        self.full = full
        self.draws = draws
        self.costs = tuple(costs)
        self.seed = seed

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse what cannot be learnt."""
        super().check(labels, query)
        check_reference_classes(
            labels, query, least=min(self.shots, default=1)
        )

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Draw, train and test."""
        self.check(labels, query)
        known = labels[~query]
        fewest = int(known.unique(return_counts=True)[1].min())
        numbers: list[int | None] = [k for k in self.shots if k <= fewest]
        numbers += [None] if self.full else []
        found = {}
        for shots in numbers:
            result = low_shot_svm(
                features[~query],
                known,
                features[query],
                labels[query],
                shots=shots,
                draws=self.draws,
                costs=self.costs,
                seed=self.seed,
            )
            name = 'full' if shots is None else f'k{shots}'
            found[name] = result.mean
            if shots is not None:
                found[f'{name}_std'] = result.std
        return found
