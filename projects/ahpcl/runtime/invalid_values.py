"""What to say when training went out of the range of numbers."""

from pathlib import Path

from mmengine.runner import Runner


def invalid_value_message(runner: Runner, found: str) -> str:
    """The message of the error that stops a run with NaN or infinity.

    Args:
        runner: Names its last checkpoint.
        found: What was found and where.
    """
    hooks = [h for h in runner.hooks if hasattr(h, 'last_good')]
    pointer = Path(runner.work_dir) / 'last_checkpoint'
    last = None
    if hooks:  # knows what is of this run
        last = hooks[0].last_good
    elif pointer.is_file():
        last = pointer.read_text().strip()
    if last is not None:
        rescue = f'The last good checkpoint is {last}'
    else:
        rescue = 'No checkpoint was written yet'
    return (
        f'expected finite numbers, got {found}. {rescue}. Ways out: a lower '
        'learning rate (optim_wrapper.optimizer.lr), gradient clipping '
        '(optim_wrapper.clip_grad), a longer warm-up, or --resume without '
        '--amp'
    )
