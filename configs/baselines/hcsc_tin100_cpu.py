# HCSC on TIN-100 for a CPU. In proportion to the data there would be 11
# clusters; 30, 20 and 10 keep the published ratio of the levels.
_base_ = ['../ahpcl_tin100_cpu.py', '../_base_/methods/hcsc.py']
model = dict(head=_base_.method.head)
custom_hooks = [
    dict(
        _base_.hcsc_hook,
        extract_dataloader=_base_.extract_dataloader,
        ladder=dict(rungs=[30, 20, 10], window=3),
        warmup_epochs=8,
    )
]
