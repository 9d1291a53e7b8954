"""What hooks ask of a model, and who answers."""

import pytest
from torch import nn

from ahpcl.models import DeviceViews, ViewPreprocessor
from ahpcl.models.protocols import (
    ChecksTraining,
    EncodesKeys,
    LearnsPrototypes,
    MakesViews,
    StartsTraining,
    TakesPrototypes,
    UpgradesState,
    require,
)
from small_encoders import CONTRAST
from small_encoders import build as build_small
from thin_ahpcl import build


def test_ahpcl_is_all_that_hooks_ask_for():
    model = build()
    for kind in (ChecksTraining, StartsTraining, UpgradesState, EncodesKeys):
        assert isinstance(model, kind)
    assert isinstance(model, LearnsPrototypes)
    assert isinstance(model.head, TakesPrototypes)
    assert isinstance(DeviceViews(), MakesViews)


def test_others_are_what_they_are():
    model = build_small('SimCLRBaseline', head=CONTRAST)
    assert isinstance(model, ChecksTraining)
    assert not isinstance(model, StartsTraining)
    assert not isinstance(model, EncodesKeys)
    assert not isinstance(model.head, TakesPrototypes)
    assert not isinstance(ViewPreprocessor(), MakesViews)


def test_require_names_what_it_got_and_the_remedy():
    model = build()
    wanted = "a model of type 'AHPCL'"
    assert require(model, LearnsPrototypes, wanted, 'leave it out') is model
    with pytest.raises(ValueError, match="'AHPCL', got Linear; leave it out"):
        require(nn.Linear(2, 2), LearnsPrototypes, wanted, 'leave it out')
