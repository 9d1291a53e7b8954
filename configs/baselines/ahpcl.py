# AHPCL at the scale of the other methods: what configs/ahpcl_*.py are.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__ladder = _base_.custom_hooks[0].ladder
_base_.pop('data').classify_clusters(_base_, __ladder)
