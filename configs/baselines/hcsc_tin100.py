# HCSC on TIN-100.
_base_ = ['../ahpcl_tin100.py', '../_base_/methods/hcsc.py']
model = dict(head=_base_.method.head)
custom_hooks = [
    dict(
        _base_.hcsc_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[37, 25, 12], window=3),
    )
]
