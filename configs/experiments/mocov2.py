# MoCo v2: AHPCL without prototypes, symmetric and with the same queue.
_base_ = 'ahpcl.py'
extract_dataloader = _base_.custom_hooks[0].extract_dataloader
custom_hooks = [dict(type='SyncBuffersHook')]
