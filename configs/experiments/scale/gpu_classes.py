# The protocol for one GPU, class split: pre-training on all images of the 64
# classes of train.csv, choices on the 16 of val.csv, the final table on the 20
# of test.csv: 5-way episodes, and kNN from 200 to 50 images of each class.
_base_ = 'gpu.py'
num_images = 16000
num_classes = 64

training_images = dict(
    **_base_.train_set,
    decoded_cache='auto',
    pipeline=_base_.extract_pipeline,
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True, **training_images | dict(pipeline=_base_.raw_pipeline)
    )
)
extract_dataloader = dict(dataset=dict(_delete_=True, **training_images))
custom_hooks = [
    dict(
        _base_.cluster_hook,
        extract_dataloader=dict(
            _base_.extract_dataloader, dataset=training_images
        ),
    )
]

val_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                **_base_.val_set,
                image_part='train',
                pipeline=_base_.reference_pipeline,
            ),
            dict(
                **_base_.val_set,
                image_part='test',
                pipeline=_base_.query_pipeline,
            ),
        ]
    )
)
test_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                **_base_.test_set,
                image_part='train',
                pipeline=_base_.reference_pipeline,
            ),
            dict(
                **_base_.test_set,
                image_part='test',
                pipeline=_base_.query_pipeline,
            ),
        ]
    )
)
novel = dict(
    batch_size=512,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
fewshot_dataloader = dict(
    val=dict(
        **novel, dataset=dict(**_base_.val_set, pipeline=_base_.query_pipeline)
    ),
    test=dict(
        **novel,
        dataset=dict(**_base_.test_set, pipeline=_base_.query_pipeline),
    ),
)
evaluation = dict(
    fewshot=[dict(type='FewShotMetric', ways=5, shots=[1, 5])],
)
