# Views that change colours and keep them, in place of views without colours:
# what rendered shapes (scale shapes) need the latter for.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:shapes}}.py'
__data = _base_.pop('data')
__made = __data.pipelines(
    [
        *__data.view_pipeline[:3],
        dict(
            type='SafeColorJitter',
            brightness=0.8,
            contrast=0.8,
            saturation=0.8,
            hue=0.5,
        ),
        dict(
            type='RandomGrayscale',
            prob=0.5,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
    ]
)
model = dict(data_preprocessor=dict(views=__made['device_views']['views']))
_base_.custom_hooks[0].extract_dataloader.dataset.pipeline = __made[
    'extract_pipeline'
]
for __loader in (
    _base_.extract_dataloader,
    _base_.val_dataloader,
    _base_.test_dataloader,
):
    __parts = __loader.dataset.get('datasets')
    if __parts is None:
        __loader.dataset.pipeline = __made['extract_pipeline']
        continue
    __parts[0].pipeline = __made['reference_pipeline']
    __parts[1].pipeline = __made['query_pipeline']
