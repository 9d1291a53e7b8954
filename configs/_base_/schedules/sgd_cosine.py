optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='SGD', lr=0.03, weight_decay=1e-4, momentum=0.9, fused=True
    ),
)
# The cosine ends with the training, however many epochs that has.
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        convert_to_iter_based=True,
    )
]
train_cfg = dict(type='CheckedEpochTrainLoop', max_epochs=200)
