"""Statistics of labels, for the logger and every vis backend."""

from mmengine.dist import master_only
from mmengine.runner import Runner
from torch import Tensor

from ahpcl.core.clustering.agreement import cluster_sizes, clustering_agreement


@master_only
def log_labels(
    runner: Runner,
    title: str,
    labels: Tensor,
    num_classes: int,
    *,
    previous: Tensor | None = None,
    scalars: dict[str, float] | None = None,
) -> None:
    """Write sizes, agreement with the labels before, and other numbers.

    Scalars go to the visualizer straight, once: the message hub would repeat
    them in every later line.

    Args:
        runner: The runner.
        title: Begins the line.
        labels: (N,) int64.
        num_classes: K.
        previous: (N,) labels before these, if there were any.
        scalars: More numbers by name, seconds for example.
    """
    sizes = cluster_sizes(labels, num_classes)
    values = {
        **(scalars or {}),
        'clusters': num_classes - sizes.empty,
        'size_min': sizes.minimum,
        'size_median': sizes.median,
        'size_max': sizes.maximum,
    }
    words = [f'{name} {value:.4g}' for name, value in (scalars or {}).items()]
    words += [
        f'{num_classes - sizes.empty} of {num_classes} clusters in use',
        f'sizes {sizes.minimum} / {sizes.median:g} / {sizes.maximum} '
        '(min / median / max)',
    ]
    if previous is not None:
        agreement = clustering_agreement(labels.cpu(), previous.cpu())
        values.update(nmi=agreement.nmi, ami=agreement.ami)
        words.append(
            f'agreement with the labels before: NMI {agreement.nmi:.3f}, '
            f'AMI {agreement.ami:.3f}'
        )
    runner.logger.info(f'{title}: {", ".join(words)}')
    runner.visualizer.add_scalars(
        {f'labels/{name}': value for name, value in values.items()},
        step=runner.iter,
    )
