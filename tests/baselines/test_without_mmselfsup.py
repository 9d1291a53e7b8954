"""AHPCL trains where mmselfsup is absent; its relatives say what they need."""

import re
import subprocess
import sys
from pathlib import Path

HEAD = """
import sys

sys.modules['mmselfsup'] = None  # importing it fails, as if it were absent

import torch
from mmengine.registry import DATA_SAMPLERS, MODELS
from torch import nn

import ahpcl
"""

STEP = """
from mmengine.model import BaseModule
from mmengine.optim import OptimWrapper
from mmengine.structures import BaseDataElement, InstanceData


@MODELS.register_module()
class Backbone(BaseModule):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2)

    def forward(self, images):
        return (self.conv(images).relu(),)


@MODELS.register_module()
class Neck(BaseModule):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, features):
        return [self.linear(features[0].mean((2, 3)))]


torch.manual_seed(0)
model = MODELS.build(dict(
    type='AHPCL', backbone=dict(type='Backbone'), neck=dict(type='Neck'),
    head=dict(type='HPCLHead'), queue_len=8, feat_dim=4))
model.init_weights()
before = model.backbone.conv.weight.clone()
samples = []
for index in range(4):
    sample = BaseDataElement()
    sample.sample_idx = InstanceData(value=torch.tensor([index]))
    samples.append(sample)
batch = dict(
    inputs=[torch.randn(4, 3, 8, 8) for _ in range(2)], data_samples=samples)
optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), 0.1))
log = model.train_step(batch, optimizer)
assert torch.isfinite(log['loss'])
assert not torch.equal(before, model.backbone.conv.weight)
"""

ASK = """
from ahpcl.baselines.without_mmselfsup import NAMES

for registry, name in NAMES:
    try:
        registry.build(dict(type=name))
    except ImportError as error:
        assert name in str(error) and 'pip install' in str(error), error
    else:
        raise AssertionError(f'{name} was built')
"""


def run(*parts):
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', '\n'.join(parts)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_ahpcl_trains_and_the_relatives_name_what_is_missing():
    run(HEAD, STEP, ASK)


def test_the_names_are_those_of_the_components_that_need_it():
    folder = Path(__file__).parents[2] / 'projects' / 'ahpcl' / 'baselines'
    init = (folder / '__init__.py').read_text('utf-8')
    guarded = init.partition('if importlib')[2].partition('else:')[0]
    listed = (folder / 'without_mmselfsup.py').read_text('utf-8')
    names = re.findall(r"\(\w+, '(\w+)'\)", listed)
    imported = re.findall(r'import ([\w, ]+)', guarded)
    assert sorted(names) == sorted(', '.join(imported).split(', '))
