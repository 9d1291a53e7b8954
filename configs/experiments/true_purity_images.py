# The prototype loss weighted by the true purity of images. Not a method, as
# it looks at labels.
_base_ = 'ahpcl.py'
model = dict(
    head=dict(
        loss_proto=dict(
            _delete_=True,
            type='TruePurityProtoNCE',
            of='images',
            dataset=_base_.custom_hooks[0].extract_dataloader.dataset,
        )
    )
)
