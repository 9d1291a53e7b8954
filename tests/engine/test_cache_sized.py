"""Parts of a batch that fit into the cache of a CPU."""

import pytest
import torch
from torch import nn

from ahpcl.engine import cache_sized
from ahpcl.engine.cache_sized import CacheSizedEncoder


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.neck = nn.Linear(8, 5)
        self.calls = []

    def encode(self, inputs):
        views = [inputs] if isinstance(inputs, torch.Tensor) else inputs
        self.calls.append(len(views[0]))
        maps = [self.norm(self.conv(view)) for view in views]
        return torch.cat([self.neck(m.mean((2, 3))) for m in maps], 1)


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def room(monkeypatch):
    # The largest map of an image of 8 x 8 has 8 channels of 64 float32.
    monkeypatch.setattr(cache_sized, '_ROOM', 20 * 8 * 64 * 4)
    monkeypatch.setattr(cache_sized, '_LEAST', 4)


@torch.no_grad()
def test_parts_give_the_rows_of_the_whole_batch(net, room):
    images = torch.randn(50, 3, 8, 8)
    whole = net.encode(images)
    net.calls.clear()
    rows = CacheSizedEncoder(net, net.encode)(images)
    assert net.calls == [4, 20, 20, 6]  # a few to measure first
    torch.testing.assert_close(rows, whole)
    assert not net.conv._forward_hooks


@torch.no_grad()
def test_views_are_parted_alike(net, room):
    views = [torch.randn(30, 3, 8, 8), torch.randn(30, 3, 4, 4)]
    whole = net.encode(views)
    net.calls.clear()
    rows = CacheSizedEncoder(net, net.encode)(views)
    assert net.calls == [4, 20, 6]
    torch.testing.assert_close(rows, whole)


@torch.no_grad()
def test_the_number_is_measured_once(net, room):
    encoder = CacheSizedEncoder(net, net.encode)
    encoder(torch.randn(25, 3, 8, 8))
    encoder(torch.randn(25, 3, 8, 8))
    # One image alone is not left over: it goes with those before.
    assert net.calls == [4, 21, 20, 5]


@torch.no_grad()
def test_few_images_and_other_devices_stay_whole(net, room):
    CacheSizedEncoder(net, net.encode)(torch.randn(4, 3, 8, 8))
    assert net.calls == [4]
    net.calls.clear()
    net.to('meta')
    CacheSizedEncoder(net, net.encode)(torch.empty(40, 3, 8, 8, device='meta'))
    assert net.calls == [40]


@torch.no_grad()
def test_hooks_go_when_encoding_fails(net, room):
    with pytest.raises(RuntimeError):
        CacheSizedEncoder(net, net.encode)(torch.randn(50, 2, 8, 8))
    assert not net.conv._forward_hooks
