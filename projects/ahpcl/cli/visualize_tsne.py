r"""t-SNE of the features of a checkpoint, coloured by class.

  python tools/analysis_tools/visualize_tsne.py configs/ahpcl_digits.py \
      --checkpoint work_dirs/ahpcl_digits/epoch_30.pth

Takes the arguments of mmselfsup's tool of this name, which fails on its own
models and on today's scikit-learn, and writes what that writes, into
<work dir>/tsne_<time>/: extract.log, features/feat_<stage>.npy and
saved_pictures/feat_<stage>.png (and .svg). The config names the images as
`extract_dataloader`; ours have it, and mmselfsup's configs/tsne. Pictures with
prototypes, and UMAP: figures.py.

t-SNE is scikit-learn's, as the arguments are its own.
"""

import argparse
import copy
import inspect
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from ahpcl.cli.arguments import add_config_options, apply_options, read_config
from ahpcl.cli.stages import STAGES, extract, labelled_part
from ahpcl.compat.frameworks import scope_of
from ahpcl.evaluation.load_model import (
    fitted_config,
    load_model,
    usable_device,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    add = parser.add_argument
    add('config', help='config with a model and an extract_dataloader')
    add('--checkpoint', help='its weights (default: the untrained model)')
    add('--work-dir', help='default: that of the config, else work_dirs/NAME')
    add(
        '--vis-stage',
        choices=STAGES,
        default='backbone',
        help='whose output; pre_logits is of classifiers (default: backbone)',
    )
    add('--device', help='such as cuda:0 or cpu (default: a GPU if there is)')
    add(
        '--deterministic',
        action='store_true',
        help='the same features in every run on a GPU',
    )
    add_config_options(parser)
    add('--init', choices=('random', 'pca'), default='random')
    add('--n-components', type=int, choices=(2, 3), default=2)
    for name, default, text in (
        ('max-num-class', 20, 'show the images of the first so many classes'),
        ('seed', 0, 'of t-SNE'),
        ('perplexity', 30.0, 'neighbours that count, about'),
        ('early-exaggeration', 12.0, 'how far apart clusters start'),
        ('learning-rate', 200.0, 'of t-SNE'),
        ('n-iter', 1000, 'iterations at most, at least 250'),
        ('n-iter-without-progress', 300, 'after which it ends'),
    ):
        text = f'{text} (default: {default:g})'
        add(f'--{name}', type=type(default), default=default, help=text)


def lay_out(features: np.ndarray, args: argparse.Namespace) -> np.ndarray:
    """t-SNE of features (N, C), scaled to [0, 1] in every dimension."""
    from sklearn.manifold import TSNE

    # scikit-learn renamed it in 1.5.
    known = inspect.signature(TSNE).parameters
    iterations = 'max_iter' if 'max_iter' in known else 'n_iter'
    points = TSNE(
        n_components=args.n_components,
        perplexity=args.perplexity,
        early_exaggeration=args.early_exaggeration,
        learning_rate=args.learning_rate,
        n_iter_without_progress=args.n_iter_without_progress,
        init=args.init,
        random_state=args.seed,
        **{iterations: args.n_iter},
    ).fit_transform(features)
    low, high = points.min(0), points.max(0)
    return (points - low) / np.maximum(high - low, 1e-12)


def draw(
    points: np.ndarray,
    labels: Tensor,
    names: Sequence[str],
    stem: Path,
    words: tuple[str, str],
) -> None:
    """Writes the picture of the first two dimensions.

    Args:
        points: (N, 2) or (N, 3).
        labels: (N,), -1 where unknown.
        names: Names of the classes, as many as are known.
        stem: Path without a suffix.
        words: What was laid out, and of what.
    """
    from ahpcl.visualization.colourings import by_class
    from ahpcl.visualization.colours import distinct_colours
    from ahpcl.visualization.embedding import Colouring, embedding_figure
    from ahpcl.visualization.projection import Projection
    from ahpcl.visualization.save import save_figure

    everything = torch.arange(len(points))
    projection = Projection('tsne', points[:, :2], everything, ())
    if bool((labels >= 0).any()):
        # ImageNet has several names for a class.
        short = [str(name).partition(',')[0] for name in names]
        short += [str(i) for i in range(len(short), int(labels.max()) + 1)]
        colouring = by_class(projection, labels, lambda i: short[i])
    else:
        colouring = Colouring('no labels', labels.numpy(), distinct_colours(1))
    figure = embedding_figure(
        projection,
        [colouring],
        num_images=len(points),
        features=words[0],
        source=words[1],
    )
    save_figure(figure, stem)


def run(args: argparse.Namespace, cfg: Config) -> None:
    """Extracts, lays out, draws.

    Raises:
        ValueError: If config, checkpoint or arguments do not fit.
    """
    init_default_scope(scope_of(cfg))
    cfg = fitted_config(cfg, args.checkpoint)
    settings = copy.deepcopy(cfg.get('extract_dataloader'))
    if settings is None or cfg.get('model') is None:
        raise ValueError(
            f'expected a config with a model and an extract_dataloader, got '
            f'{args.config} without; inherit one of configs/_base_/datasets'
        )
    if args.n_iter < 250:
        raise ValueError(
            f'expected --n-iter of at least 250, got {args.n_iter}'
        )
    device = usable_device(args.device)
    model, _ = load_model(cfg, args.checkpoint)
    dataset, labels, names = labelled_part(
        settings.pop('dataset'), args.max_num_class
    )
    if not 0 < args.perplexity < len(labels):
        raise ValueError(
            f'expected a --perplexity above 0 and below the {len(labels)} '
            f'images, got {args.perplexity}'
        )
    folder = Path(cfg.work_dir) / time.strftime('tsne_%Y%m%d_%H%M%S')
    folder.mkdir(parents=True)
    logger = MMLogger.get_instance(
        str(folder.resolve()), log_file=str(folder / 'extract.log')
    )
    logger.info(f'Apply t-SNE to visualize {len(labels)} samples.')
    model.to(device).eval()
    settings.setdefault('collate_fn', dict(type='default_collate'))
    # In the order of the labels.
    settings['sampler'] = dict(type='DefaultSampler', shuffle=False)
    loader = Runner.build_dataloader(
        dict(settings, dataset=dataset), seed=args.seed
    )
    features = extract(model, loader, args.vis_stage, device)
    for part in ('features', 'saved_pictures'):
        (folder / part).mkdir()
    for name, values in features.items():
        np.save(folder / 'features' / f'{name}.npy', values)
    logger.info(f'Save features to {folder / "features"}')
    for name, values in features.items():
        draw(
            lay_out(values, args),
            labels,
            names,
            folder / 'saved_pictures' / name,
            (
                f'{args.vis_stage}, {name}',
                Path(args.checkpoint or 'untrained').name,
            ),
        )
    logger.info(f'Saved results to {folder / "saved_pictures"}')


def execute(args: argparse.Namespace) -> None:
    """Runs the command line."""
    cfg = read_config(args.config)
    apply_options(cfg, args.cfg_options, args.data_root)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(args.config).stem)
    if args.deterministic:
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
    try:
        import ahpcl.visualization.save  # noqa: F401
    except ImportError as error:
        raise SystemExit(
            "error: expected matplotlib to be installed; pip install 'ahpcl"
            "[viz]'"
        ) from error
    try:
        run(args, cfg)
    except (ValueError, OSError) as error:
        raise SystemExit(f'error: {error}') from error


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
