"""What the metrics on features share: collecting them."""

from abc import abstractmethod

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor


class FeatureMetric(BaseMetric):
    """Collects features, labels and roles of images over all ranks.

    A sample has ``feature`` (C,), which ``AHPCL.predict`` sets, and may have
    ``gt_label`` and ``role`` ('reference' or 'query', see ``SetRole``).
    Subclasses define :meth:`measure`. Without labels nothing is computed and
    nothing is logged.
    """

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Collect a batch."""
        for sample in data_samples:
            label = sample.get('gt_label')
            if isinstance(label, dict):
                label = label.get('value', label.get('label'))
            self.results.append(
                dict(
                    feature=sample['feature'].detach().float().cpu(),
                    label=-1 if label is None else int(label),
                    role=sample.get('role', 'query'),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Metrics of all images; empty without labels."""
        results = [row for row in results if row['label'] >= 0]
        if not results:
            return {}
        features = torch.stack([row['feature'] for row in results])
        labels = torch.tensor([row['label'] for row in results])
        query = torch.tensor([row['role'] == 'query' for row in results])
        return self.measure(features, labels, query)

    @abstractmethod
    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Compute the metrics.

        Args:
            features: (N, C).
            labels: (N,).
            query: (N,) True for images that are tested, False for those that
                may be learnt from.
        """
