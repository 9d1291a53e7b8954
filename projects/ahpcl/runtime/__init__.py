"""What keeps any run alive, whatever it trains; importing registers it."""

from . import renamed as renamed
from .atomic_checkpoint_hook import AtomicCheckpointHook
from .deferred_info_hook import DeferredInfoHook
from .invalid_values import InvalidLossHook
from .optim_wrapper import BF16OptimWrapper
from .optimizer_state import align_optimizer_state
from .parameter_groups import GroupedConstructor
from .safe_checkpoint_hook import SafeCheckpointHook
from .sample_seed_hook import SampleSeedHook
from .start_checkpoint_hook import StartCheckpointHook
from .train_loop import CheckedEpochTrainLoop
from .train_state import TrainState

__all__ = [
    'AtomicCheckpointHook',
    'BF16OptimWrapper',
    'CheckedEpochTrainLoop',
    'DeferredInfoHook',
    'GroupedConstructor',
    'InvalidLossHook',
    'SafeCheckpointHook',
    'SampleSeedHook',
    'StartCheckpointHook',
    'TrainState',
    'align_optimizer_state',
]
