"""What the metrics on features share: collecting them."""

from abc import abstractmethod
from typing import ClassVar

import torch
from mmengine.evaluator import BaseMetric
from torch import Tensor


class FeatureMetric(BaseMetric):
    """Collects features, labels and roles of images over all ranks.

    A sample has ``feature`` (C,), which ``AHPCL.predict`` sets, and may have
    ``gt_label`` and ``role`` ('reference' or 'query', see ``SetRole``).
    Subclasses define :meth:`measure`. A metric that needs labels leaves out
    the images without one; if none has one, nothing is computed and nothing
    is logged.
    """

    #: Whether images without a label are left out.
    needs_labels: ClassVar[bool] = True
    #: Whether ``measure`` takes images (N, C, H, W) uint8 in place of
    #: features; such a metric has ``set_model``.
    needs_images: ClassVar[bool] = False

    def process(self, data_batch: dict, data_samples: list[dict]) -> None:
        """Collect a batch."""
        for sample in data_samples:
            self.results.append(
                dict(
                    feature=sample['feature'].detach().float().cpu(),
                    label=label_of(sample),
                    role=sample.get('role', 'query'),
                )
            )

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Compute the metrics; empty if they need labels and have none."""
        if self.needs_labels:
            results = [row for row in results if row['label'] >= 0]
        if not results:
            return {}
        features = torch.stack([row['feature'] for row in results])
        labels = torch.tensor([row['label'] for row in results])
        query = torch.tensor([row['role'] == 'query' for row in results])
        return self.measure(features, labels, query)

    def check(self, labels: Tensor, query: Tensor) -> None:
        """Refuse images that cannot be measured, before features are there.

        Args:
            labels: Classes, (N,), from 0; -1 where unknown.
            query: Mask, (N,), True for images that are tested.

        Raises:
            ValueError: If :meth:`measure` could not work with them.
        """
        if self.needs_labels and not bool((labels >= 0).any()):
            raise ValueError(
                f'expected images with labels for {type(self).__name__}, got '
                f'{len(labels)} without; give a labelled set as '
                'test_dataloader, or leave this task out'
            )

    @abstractmethod
    def measure(
        self, features: Tensor, labels: Tensor, query: Tensor
    ) -> dict[str, float]:
        """Compute the metrics.

        Args:
            features: Features, (N, C).
            labels: Classes, (N,); -1 where unknown, unless ``needs_labels``.
            query: Mask, (N,), True for images that are tested, False for those
                that may be learnt from.
        """


def label_of(sample: dict) -> int:
    """Return the class of a sample of mmselfsup or mmcls, -1 without one."""
    label = sample.get('gt_label')
    if isinstance(label, dict):
        label = label.get('value', label.get('label'))
    return -1 if label is None else int(label)


def check_roles(query: Tensor) -> None:
    """Refuse images that all have one role.

    Args:
        query: Mask, (N,), True for images that are tested.

    Raises:
        ValueError: If no image, or every image, is a reference.
    """
    if not bool(query.any()) or bool(query.all()):
        raise ValueError(
            'expected images with the role reference and others with the '
            f'role query, got {int(query.sum())} queries of {len(query)} '
            "images; put SetRole(role='reference') into the pipeline of "
            "the former and pack it with meta_keys=['role']"
        )


def check_several_classes(labels: Tensor) -> None:
    """Refuse images of one class only: every answer about them is right.

    Args:
        labels: Classes, (N,), from 0; -1 where unknown, and such images do not
            count.

    Raises:
        ValueError: If there are fewer than two classes.
    """
    classes = labels[labels >= 0].unique()
    if len(classes) < 2:
        raise ValueError(
            f'expected images of two classes or more, got {len(classes)}: '
            'with one class every answer is right; give a labelled set of '
            'several classes as val_dataloader and test_dataloader, or leave '
            'this task out'
        )


def check_reference_classes(
    labels: Tensor, query: Tensor, least: int = 2
) -> None:
    """Refuse classes that the references teach too little of.

    Args:
        labels: Classes, (N,), from 0; -1 where unknown, and such images do not
            count.
        query: Mask, (N,), True for images that are tested.
        least: References that every class needs.

    Raises:
        ValueError: If all images have one role, there are fewer than two
            classes, or a class has fewer references than that.
    """
    known = labels >= 0
    check_roles(query[known])
    classes = labels[known].unique()
    check_several_classes(labels)
    for label in classes.tolist():
        count = int(((labels == label) & ~query).sum())
        if count < least:
            raise ValueError(
                f'expected at least {least} references of every class, got '
                f'{count} of class {label}; leave the class out or give it '
                'more images'
            )
