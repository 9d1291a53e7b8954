# AHPCL on TIN-100: ResNet-18, 64 px, 200 epochs, for one GPU.
_base_ = [
    '_base_/models/ahpcl_r18.py',
    '_base_/datasets/tin100.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
custom_hooks = [
    dict(_base_.cluster_hook, extract_dataloader=_base_.extract_dataloader)
]
