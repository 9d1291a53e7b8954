"""Measures how well a k-means of the features agrees with the labels."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from mmengine.registry import METRICS
from torch import Tensor

from ahpcl.core import KMeansSettings, spherical_kmeans
from ahpcl.core.metrics.cluster_quality import grouping_report
from ahpcl.core.validation import whole_number

from .feature_metric import FeatureMetric, check_roles


@METRICS.register_module()
class ClusterMetric(FeatureMetric):
    """A spherical k-means of the features, logged as ``cluster/...``.

    NMI, AMI and ARI (0 to 1), the accuracy of the best match of clusters and
    classes, the purity and the share of pairs of a cluster that are of one
    class (percent), silhouette (cosine, of a sample) and sizes; without
    labels only the last two. Images without a label count for no agreement.

    Args:
        num_clusters: Number of clusters K, or several, whose results are
            logged under ``k<K>/``; None for the number of classes.
        fit: ``'all'``: the k-means is fitted on all images, whatever their
            role, and all are scored. ``'reference'``: it is fitted on the
            images with the role 'reference', and those with the role 'query'
            are given to the nearest centroid and scored, so that what is
            scored was not fitted on.
        n_init: Restarts; the one with the best objective is taken.
        seed: Seed of the k-means and of the sample for the silhouette.
        collect_device: Where results are gathered, as in mmengine.
        prefix: Prefix of the logged names, as in mmengine.
    """

    default_prefix = 'cluster'
    needs_labels: ClassVar[bool] = False

    def __init__(
        self,
        num_clusters: int | Sequence[int] | None = None,
        fit: Literal['all', 'reference'] = 'all',
        n_init: int = 10,
        seed: int = 0,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.num_clusters = num_clusters
        if fit not in ('all', 'reference'):
            raise ValueError(f"expected fit='all' or 'reference', got {fit!r}")
        self.fit = fit
        self.n_init = n_init
        self.seed = seed

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse a K that is unknown or larger than there are images.

        Raises:
            ValueError: If it is, or a fit on the references lacks one of
                the two roles.
        """
        if self.fit == 'reference':
            check_roles(query)
            labels = labels[~query]
        for count in self._counts(labels):
            whole_number(count, 'num_clusters', least=1)
            if count > len(labels):
                raise ValueError(
                    f'expected at most {len(labels)} clusters, as many as '
                    f'there are images, got {count}; lower num_clusters'
                )

    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Cluster all images and compare with the labels."""
        self.check(labels, query)
        rows = F.normalize(features, dim=1)
        fitted = rows
        if self.fit == 'reference':
            fitted, rows = rows[~query], rows[query]
            known, labels = labels, labels[query]
        else:
            known = labels
        several = isinstance(self.num_clusters, Sequence)
        found = {}
        for count in self._counts(known):
            result = spherical_kmeans(
                fitted,
                count,
                KMeansSettings(n_iter=50, n_init=self.n_init),
                seed=self.seed,
            )
            assignments = result.assignments
            if self.fit == 'reference':
                assignments = (rows @ result.centroids.t()).argmax(1)
            report = grouping_report(
                rows,
                assignments,
                labels,
                num_clusters=count,
                seed=self.seed,
            )
            name = f'k{count}/' if several else ''
            found.update({f'{name}{k}': v for k, v in report.items()})
        return found

    def _counts(self, labels: Tensor) -> Sequence[int]:
        if isinstance(self.num_clusters, Sequence):
            return self.num_clusters
        if self.num_clusters is not None:
            return [self.num_clusters]
        classes = len(labels[labels >= 0].unique())
        if classes == 0:
            raise ValueError(
                'expected images with labels, or num_clusters, for '
                f'ClusterMetric, got {len(labels)} images without; set '
                'num_clusters=K'
            )
        return [classes]
