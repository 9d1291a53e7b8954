# Your own images on a CPU: a thin ResNet-18, 32 px, 20 epochs.
# --cfg-options data_root=path/to/images
_base_ = '_base_/scales/cifar10.py'
data_root = 'data/my_images/'
__data = _base_.pop('data')
__made = __data.pipelines(__data.photo(32), __data.center(32, 32))
__images = dict(
    type='UnlabelledFolder', data_root=data_root, decoded_cache='auto'
)
__load, *__fit, __pack = __made['extract_pipeline']
__raw = dict(__images, pipeline=[__load, __pack])
__extract = dict(__images, pipeline=__made['extract_pipeline'])
train_dataloader = dict(batch_size=64, dataset=dict(__raw, _delete_=True))
extract_dataloader = dict(dataset=dict(__extract, _delete_=True))
__hook = _base_.custom_hooks[0]
__hook.extract_dataloader.dataset = __extract
__hook.ladder = dict(type='AutoLadder', finest=1000)
__data.classify_clusters(_base_, __hook.ladder)
# At 5,000 images: five advances of two epochs at most, after two of warm-up.
__hook.policy.max_epochs = 2
__hook.warmup_epochs = 2
custom_hooks = [__hook]
# Without labels there is nothing to validate.
val_dataloader = None
val_evaluator = None
val_cfg = None
test_dataloader = None
test_evaluator = None
test_cfg = None
