"""Was it worth training, as a part of a report."""

from __future__ import annotations

import os

from ahpcl.evaluation.comparison import PIXELS, RUN, UNTRAINED, compare
from ahpcl.evaluation.run_data import RunData

from .report_markup import paragraph, table

_HEADS = {
    'knn': 'kNN %',
    'agreement': 'agreement of restarts',
    'together': 'neighbours together %',
    'silhouette': 'silhouette',
    'rankme': 'RankMe',
    'spread': 'spread',
}


def worth(run: RunData, pretrained: str | os.PathLike | None = None) -> str:
    """Return a table of the run beside its untrained encoder and pixels.

    Args:
        run: A checkpoint.
        pretrained: See :func:`ahpcl.evaluation.comparison.compare`.
    """
    try:
        found = compare(run, pretrained)
    except OSError as error:
        return paragraph(
            f'Not compared with anything: the images are gone ({error}).',
            'warning',
        )
    except ValueError as error:
        return paragraph(f'Not compared with anything: {error}', 'warning')
    rows = found['rows']
    names = [n for n in _HEADS if n != 'knn' or found['tested']]
    about = f'{found["images"]:,} images'
    if found['tested']:
        about += f', {found["tested"]:,} of them tested by the others'
    return (
        paragraph(_verdict(rows))
        + table(
            ['encoder', *(_HEADS[name] for name in names)],
            [
                [encoder, *(row[name] for name in names)]
                for encoder, row in rows.items()
            ],
            caption=about,
        )
        + paragraph(
            f'Agreement: adjusted mutual information of two k-means with '
            f'{found["clusters"]} clusters from different seeds, 1 if they '
            'find the same. Neighbours together: how many of the ten nearest '
            'images are in the same cluster. RankMe: dimensions in use. '
            'Spread: 1 where features fill the sphere, 0 in collapse.',
            'note',
        )
    )


def _verdict(rows: dict) -> str:
    """Say in a sentence whether training added anything."""
    run, before, pixels = (rows[name] for name in (RUN, UNTRAINED, PIXELS))
    if run['knn'] is None:
        gain = run['agreement'] - before['agreement']
        return (
            'There are no labels to test with. Two clusterings of the '
            f'features agree by {run["agreement"]:.2f}, before training by '
            f'{before["agreement"]:.2f}, those of pixels by '
            f'{pixels["agreement"]:.2f}: training made the clusters '
            + ('more' if gain > 0 else 'no more')
            + ' definite. That they mean something only you can see, in the '
            'gallery.'
        )
    gain = run['knn'] - before['knn']
    text = (
        f'kNN finds the class of {run["knn"]:.1f} % of the tested images, '
        f'{before["knn"]:.1f} % before training, {pixels["knn"]:.1f} % from '
        'pixels: '
    )
    if gain <= 0:
        return text + 'training was not worth it yet.'
    text += f'training added {gain:.1f} points'
    others = set(rows) - {RUN, UNTRAINED, PIXELS}
    better = [n for n in others if rows[n]['knn'] > run['knn']]
    if run['knn'] <= pixels['knn']:
        return f'{text}, and pixels are no worse.'
    return f'{text}; {better[0]} is better.' if better else f'{text}.'
