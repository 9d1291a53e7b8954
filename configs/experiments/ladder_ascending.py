# From few clusters to many.
_base_ = 'ahpcl.py'
__ladder = _base_.custom_hooks[0].ladder
__ladder.type = 'ClusterLadder'
__ladder.rungs.sort()
