# The protocol for one GPU, image split: TIN-100 at 64 px, ResNet-18, 200
# epochs, for kNN, linear classification and clustering.
#
# All 100 classes; pre-training on images 1 to 175 of each, choices on 176 to
# 200, the final table on 201 to 250. The recipe is that of ahpcl_tin100.py,
# with the symmetric loss, augmentation on the GPU and bfloat16.
_base_ = '../../_base_/scales/tin100.py'
data = dict(
    images=17500,
    classes=100,
    labels=dict(deepcluster=200, odc=200, sela=200, swav=200),
    swav=dict(queue_len=1024, queue_start_epoch=20, freeze_iters=273),
    pcl_shares=(51, 26, 13, 78),
)
get_data = 'CONTRIBUTING.md, "Data", says how to get TIN-100'

model = dict(
    symmetric=True,
    data_preprocessor=_base_.data.device_views,
)
__train, __val, __test = (
    dict(
        type='MiniImageNet',
        data_root=_base_.data_root,
        protocol='image',
        train_per_class=175,
        test_per_class=50,
        decoded_cache='auto',
        split=split,
    )
    for split in ('train', 'val', 'test')
)
__extract = dict(__train, pipeline=_base_.data.extract_pipeline)
train_dataloader = dict(
    dataset=dict(__train, pipeline=_base_.data.train_pipeline, _delete_=True)
)
extract_dataloader = dict(dataset=dict(__extract, _delete_=True))
val_dataloader = dict(dataset=_base_.data.pair(_base_.data, __train, __val))
test_dataloader = dict(dataset=_base_.data.pair(_base_.data, __train, __test))
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        extract_dataloader=dict(_base_.extract_dataloader, dataset=__extract),
        # As its rows were planned: the best of five starts, every epoch.
        clustering=dict(type='KMeansClustering', n_iter=20, n_init=5),
        interval=1,
    )
]
optim_wrapper = dict(type='BF16OptimWrapper')
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    linear=[dict(type='LinearMetric', protocol='logreg')],
)
