# AHPCL on mini-ImageNet, the main config: ResNet-18, 84 px, 200 epochs.
_base_ = [
    '_base_/models/ahpcl_r18.py',
    '_base_/datasets/mini_imagenet.py',
    '_base_/schedules/ahpcl_200e.py',
    '_base_/default_runtime.py',
]
custom_hooks = [
    dict(_base_.cluster_hook, extract_dataloader=_base_.extract_dataloader)
]
