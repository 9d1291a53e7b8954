"""What to say when training went out of the range of numbers."""

from pathlib import Path

from mmengine.runner import Runner


def invalid_value_message(runner: Runner, found: str) -> str:
    """The message of the error that stops a run with NaN or infinity.

    Args:
        runner: Names the last checkpoint of its work directory.
        found: What was found and where.
    """
    pointer = Path(runner.work_dir) / 'last_checkpoint'
    if pointer.is_file():
        last = pointer.read_text().strip()
        rescue = f'The last good checkpoint is {last}'
    else:
        rescue = 'No checkpoint was written yet'
    return (
        f'expected finite numbers, got {found}. {rescue}. Ways out: a lower '
        'learning rate (optim_wrapper.optimizer.lr), gradient clipping '
        '(optim_wrapper.clip_grad), a longer warm-up, or --resume without '
        '--amp'
    )
