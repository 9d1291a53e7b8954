# CIFAR-10, the deciding set: configs/ahpcl_cifar10.py with every image in one
# process and bfloat16 encoders, which take 0.6 of float32's time where a
# processor has bfloat16 instructions (0.6 was measured on an AMD EPYC 9004).
#
# Training sees images 0 to 1999 of every class; choices are made on 4500 to
# 4999, the final table is of the folder test. There are no novel classes.
_base_ = '../../_base_/scales/cifar10.py'
data = dict(
    # Methods of one view train for twice the epochs: as many passes.
    one_view_epochs=40,
    swav=dict(queue_len=1024, queue_start_epoch=5, freeze_iters=312),
    pcl_shares=(51, 26, 13, 78),
)
get_data = (
    'make them with python tools/dataset_converters/cifar10.py '
    'cifar-10-binary.tar.gz data/cifar10'
)

_base_.custom_hooks[0].warmup_epochs = 5
# As its rows were planned, whatever the defaults become.
_base_.custom_hooks[0].clustering = dict(n_init=1, warm_start=True)
_base_.custom_hooks[0].interval = 1
model = dict(memory_format='channels_last')
optim_wrapper = dict(type='BF16OptimWrapper')
evaluation = dict(
    knn=[dict(type='KNNMetric', k=20)],
    # One C: the choice among six takes minutes.
    linear=[
        dict(type='LinearMetric', protocol='logreg', grid=[0.1], max_iter=100)
    ],
)
