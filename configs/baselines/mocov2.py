# MoCo v2 (Chen et al., arXiv:2003.04297): momentum contrast with a queue. This
# is AHPCL without the hook that makes prototypes; model, data and schedule are
# those of AHPCL at the same scale.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
extract_dataloader = _base_.custom_hooks[0].extract_dataloader
# All ranks end an epoch with the same running statistics of batch norm.
custom_hooks = [dict(type='SyncBuffersHook')]
