r"""Plot logged scalars of one or more runs, or say how long iterations took.

  python tools/analysis_tools/analyze_logs.py plot_curve \
      work_dirs/ahpcl_digits --keys epoch/acc_inst epoch/acc_proto --out a.png
  python tools/analysis_tools/analyze_logs.py cal_train_time \
      work_dirs/ahpcl_digits/*/vis_data/scalars.json

Takes the arguments of mmselfsup's tool of this name, whose own needs seaborn
and then fails on today's logs. A log is a scalars.json, or a work folder with
all parts of a run that was resumed.
"""

import argparse
import difflib
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ahpcl.cli.console import say
from ahpcl.utils.own_folder import mark_new_folder
from ahpcl.visualization.run_log import RunLog

# Backends of matplotlib that open no window.
FILES_ONLY = ('agg', 'cairo', 'pdf', 'pgf', 'ps', 'svg', 'template')
STYLES = ('dark', 'darkgrid', 'white', 'whitegrid', 'ticks')


class Curve(NamedTuple):
    """A scalar of a log.

    Args:
        log: Name of the log.
        key: Name of the scalar.
        points: Pairs of (iteration or epoch, value).
    """

    log: str
    key: str
    points: Sequence[tuple[float, float]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command line."""
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser('plot_curve', help='plot scalars')
    time = tasks.add_parser(
        'cal_train_time', help='mean time of a training iteration'
    )
    for task in (plot, time):
        task.add_argument(
            'json_logs', nargs='+', help='scalars.json, or a work folder'
        )
    plot.add_argument(
        '--keys',
        nargs='+',
        default=['loss'],
        help='scalars, such as loss epoch/acc_proto estep/k200/objective '
        'knn/top1 (default: loss)',
    )
    plot.add_argument('--title', help='title of the figure')
    plot.add_argument(
        '--legend',
        nargs='+',
        help='one text for every curve: all keys of the first log, then those '
        'of the next (default: <log>_<key>)',
    )
    plot.add_argument('--backend', help='of matplotlib, such as agg')
    plot.add_argument(
        '--style',
        default='dark',
        help=f'{", ".join(STYLES)}, or one that matplotlib knows (default: '
        'dark)',
    )
    plot.add_argument('--out', help='file to write; without, a window opens')
    time.add_argument(
        '--include-outliers',
        action='store_true',
        help="count the first value of every epoch, too: with it the workers' "
        'start is measured',
    )


def series_of(log: RunLog, key: str, name: str) -> list[tuple[int, float]]:
    """Pairs of (step, value) of a scalar.

    Args:
        log: Log of a run.
        key: Name of the scalar.
        name: Name of the log, for messages.

    Raises:
        ValueError: If it was not logged; names those nearby.
    """
    found = log.scalars.get(key)
    if found:
        return found
    names = sorted(log.scalars)
    near = difflib.get_close_matches(key, names, n=3)
    hint = f'did you mean {", ".join(near)}? It' if near else 'it'
    raise ValueError(
        f'expected a scalar of {name} in --keys, got {key!r}; {hint} '
        f'has {", ".join(names)}'
    )


def curves_of(
    logs: Sequence[tuple[str, RunLog]], keys: Sequence[str]
) -> tuple[str, list[Curve]]:
    """What there is to plot.

    Over iterations, where all scalars are logged by iteration; else over
    epochs, where the logs know their ends.

    Args:
        logs: With their names.
        keys: Scalars.

    Returns:
        'iter' or 'epoch', and all keys of the first log, then those of the
        next.

    Raises:
        ValueError: For a key that a log lacks.
    """
    by_epoch = any(key in log.by_epoch for _, log in logs for key in keys)
    by_epoch = by_epoch and all(log.epoch_of(1) > 0 for _, log in logs)
    found = []
    for name, log in logs:
        for key in keys:
            series = series_of(log, key, name)
            points = log.series(key) if by_epoch else series
            found.append(Curve(name, key, points))
    return 'epoch' if by_epoch else 'iter', found


def plot_curve(
    logs: Sequence[tuple[str, RunLog]], args: argparse.Namespace
) -> None:
    """Plots every key of every log into one figure.

    Args:
        logs: With their names.
        args: Arguments of the command line.

    Raises:
        ValueError: For a key that a log lacks, a legend of another length,
            a folder to write, or an unknown style, backend or kind of file.
        ImportError: Without matplotlib.
    """
    axis, curves = curves_of(logs, args.keys)
    legend = args.legend or [f'{curve.log}_{curve.key}' for curve in curves]
    if len(legend) != len(curves):
        raise ValueError(
            f'expected {len(curves)} texts for --legend, one for each of '
            f'{len(args.keys)} keys of {len(logs)} logs, got {len(legend)}'
        )
    out = _picture(args.out)
    plt = _pyplot(args.backend)
    style = _style(plt, args.style)
    if out is None and plt.get_backend().lower() in FILES_ONLY:
        raise ValueError(
            'expected --out FILE, as no window can be opened here (--backend '
            f'is {plt.get_backend()})'
        )
    with plt.style.context(style):
        figure, axes = plt.subplots(figsize=(8, 5), layout='constrained')
        for curve, text in zip(curves, legend, strict=True):
            say(f'plot curve of {curve.log}, metric is {curve.key}')
            axes.plot(
                [x for x, _ in curve.points],
                [y for _, y in curve.points],
                label=text,
                linewidth=1,
                marker='o' if len(curve.points) <= 60 else None,
                markersize=3,
            )
        axes.set_xlabel(axis)
        axes.legend(fontsize=9)
        if args.title is not None:
            axes.set_title(args.title)
        if out is None:
            plt.show()
        else:
            mark_new_folder(out.parent)
            out.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(out, dpi=120)
            say(f'save curve to: {out}')
        plt.close(figure)


def cal_train_time(
    logs: Sequence[tuple[str, RunLog]], args: argparse.Namespace
) -> None:
    """Prints the mean time of an iteration, of every log.

    The first value of an epoch is left out, where it has more than one.

    Args:
        logs: With their names.
        args: Arguments of the command line.

    Raises:
        ValueError: If a log has no times of training.
    """
    for name, log in logs:
        say(f'{"-" * 5}Analyze train time of {name}{"-" * 5}')
        series_of(log, 'time', name)
        epochs: dict[int, list[float]] = {}
        for epoch, seconds in log.series('time'):
            epochs.setdefault(math.ceil(epoch - 1e-9), []).append(seconds)
        if not args.include_outliers:
            epochs = {e: v[1:] or v for e, v in epochs.items()}
        if log.epoch_of(1) > 0:
            means = {e: sum(v) / len(v) for e, v in epochs.items()}
            slow, fast = max(means, key=means.get), min(means, key=means.get)
            mean = sum(means.values()) / len(means)
            squares = [(value - mean) ** 2 for value in means.values()]
            spread = math.sqrt(sum(squares) / len(squares))
            say(f'slowest epoch {slow}, average time is {means[slow]:.4f}')
            say(f'fastest epoch {fast}, average time is {means[fast]:.4f}')
            say(f'time std over epochs is {spread:.4f}')
        values = [value for own in epochs.values() for value in own]
        say(f'average iter time: {sum(values) / len(values):.4f} s/iter\n')


def _picture(name: str | None) -> Path | None:
    """The file to write: a PNG, where the name does not say."""
    if name is None:
        return None
    path = Path(name)
    if path.is_dir():
        raise ValueError(f'expected a file for --out, got the folder {name}')
    return path if path.suffix else path.with_suffix('.png')


def _pyplot(backend: str | None) -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "expected matplotlib to be installed; pip install 'ahpcl[viz]'"
        ) from error
    if backend is not None:
        try:
            plt.switch_backend(backend)
        except ImportError as error:
            raise ValueError(
                f'expected a --backend that works here, got {backend}: {error}'
            ) from error
    return plt


def _style(plt: Any, name: str) -> str:
    """The style of matplotlib for a name of seaborn's or its own."""
    if name in STYLES:
        return f'seaborn-v0_8-{name}'
    if name not in (*plt.style.available, 'default'):
        raise ValueError(
            f'expected a --style of {", ".join(STYLES)} or of matplotlib '
            f'({", ".join(plt.style.available)}), got {name!r}'
        )
    return name


def execute(args: argparse.Namespace) -> None:
    """Runs the task."""
    task = {'plot_curve': plot_curve, 'cal_train_time': cal_train_time}
    try:
        logs = [(os.fspath(path), RunLog(path)) for path in args.json_logs]
        task[args.task](logs, args)
    except (ValueError, ImportError, OSError) as error:
        raise SystemExit(f'error: {error}') from error


def main(args: argparse.Namespace) -> int:
    """Run the command; return its exit code."""
    execute(args)
    return 0
