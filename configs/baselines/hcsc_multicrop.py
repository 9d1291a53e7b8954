# HCSC with multi-crop: the two large views, and one small crop of each of four
# sizes, in the published proportions (192, 160, 128 and 96 of 224 px, which
# cover the image in proportion).
_base_ = 'hcsc.py'
# On the device, or in the pipeline.
__views = next(
    part
    for part in (
        _base_.model.data_preprocessor,
        *_base_.train_dataloader.dataset.pipeline,
    )
    if 'views' in part
)
__crop = __views.views[0][0]
for __pixels in (192, 160, 128, 96):
    __size = round(__crop.size * __pixels / 224)
    __share = __size / __crop.size
    __scale = (round(__crop.scale[0] * __share, 3), round(__share, 3))
    __small = dict(__crop, size=__size, scale=__scale)
    __views.views.append([__small, *__views.views[0][1:]])
__views.num_views = [2, 1, 1, 1, 1]
