# Raw pixels under the metrics of the digits: what an encoder has to beat.
# python tools/test.py configs/benchmarks/pixels_digits.py
_base_ = '../ahpcl_digits.py'
model = dict(backbone=dict(_delete_=True, type='PixelBackbone', size=8))
