# AHPCL with small crops, which predict the keys of the two views (SwAV's; the
# published six of them cost as much as the views).
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
__data = _base_.pop('data')
__data.add_small_views(_base_, __data)
