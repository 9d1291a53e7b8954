# The number of classes in place of the rung next to it.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:../../experiments/scale/cpu}}.py'
__ladder = _base_.custom_hooks[0].ladder
__ladder.type = 'ClusterLadder'
__ladder.rungs[4:] = [_base_.pop('data').classes, __ladder.rungs[5]]
