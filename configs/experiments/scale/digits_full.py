# The digits, trained to their end: configs/ahpcl_digits.py with the views made
# by the data set, as the rows were planned.
#
# Of the 1,442 training images 1,157 are trained on, choices are made on the
# other 285, the final table is of the 355 test images.
_base_ = '../../_base_/scales/digits.py'
data = dict(
    images=1157,
    labels=dict(deepcluster=100, odc=100, sela=100, swav=100),
    swav=dict(
        _delete_=True, queue_len=256, queue_start_epoch=1, freeze_iters=18
    ),
    pcl_shares=(51, 26, 13, 78),
)
__fit, __val, __test = (
    dict(type='Digits', img_size=16, split=split)
    for split in ('fit', 'val', 'test')
)
_base_.data.views_on_cpu(_base_)
__extract = dict(__fit, pipeline=_base_.data.extract_pipeline)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=__fit,
)
extract_dataloader = dict(dataset=__extract)
val_dataloader = dict(dataset=_base_.data.pair(_base_.data, __fit, __val))
test_dataloader = dict(dataset=_base_.data.pair(_base_.data, __fit, __test))
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(_base_.extract_dataloader, dataset=__extract),
        clustering=dict(type='KMeansClustering', n_init=1, warm_start=True),
        interval=1,
    )
]
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg', grid=[0.1])],
    fewshot=[dict(type='FewShotMetric', ways=5, shots=[1, 5], episodes=500)],
)
