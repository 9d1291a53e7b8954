# HCSC on mini-ImageNet.
_base_ = ['../ahpcl_minin.py', '../_base_/methods/hcsc.py']
model = dict(head=_base_.method.head)
custom_hooks = [
    dict(
        _base_.hcsc_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[90, 60, 30], window=3),
    )
]
