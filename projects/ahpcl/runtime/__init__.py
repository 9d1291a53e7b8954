"""What keeps any run alive, whatever it trains; importing registers it."""

from .checkpoint_hook import PlainCheckpointHook
from .deferred_info_hook import DeferredInfoHook
from .invalid_loss_hook import InvalidLossHook
from .optim_wrapper import BF16OptimWrapper
from .optimizer_state import align_optimizer_state
from .sample_seed_hook import SampleSeedHook
from .start_checkpoint_hook import StartCheckpointHook
from .train_loop import CheckedEpochTrainLoop
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    'BF16OptimWrapper',
    'CheckedEpochTrainLoop',
    'DeferredInfoHook',
    'InvalidLossHook',
    'PlainCheckpointHook',
    'SampleSeedHook',
    'StartCheckpointHook',
    'WholeCheckpointHook',
    'align_optimizer_state',
]
