# The protocol for one GPU, class split: pre-training on all images of the 64
# classes of train.csv, choices on the 16 of val.csv, the final table on the 20
# of test.csv: 5-way episodes, and kNN from 200 to 50 images of each class.
_base_ = 'gpu.py'
data = dict(images=16000, classes=64, swav=dict(freeze_iters=250))
__sets = _base_.data.splits(_base_.data, _base_.data_root)
train_dataloader = dict(dataset=dict(__sets['train'], _delete_=True))
extract_dataloader = dict(dataset=dict(__sets['extract'], _delete_=True))
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(
            _base_.extract_dataloader, dataset=__sets['extract']
        ),
    )
]
val_dataloader = dict(dataset=__sets['val'])
test_dataloader = dict(dataset=__sets['test'])
fewshot_dataloader = {
    part: dict(
        batch_size=512,
        num_workers=4,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
        dataset=dict(
            type='MiniImageNet',
            data_root=_base_.data_root,
            split=part,
            pipeline=_base_.data.query_pipeline,
        ),
    )
    for part in ('val', 'test')
}
evaluation = dict(
    fewshot=[dict(type='FewShotMetric', ways=5, shots=[1, 5])],
)
