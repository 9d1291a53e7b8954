import torch
import torch.nn.functional as F
from sklearn.metrics import adjusted_mutual_info_score

from ahpcl.core import PrototypeHierarchy, PrototypeLevel
from ahpcl.engine import estep


def hierarchy(seed, *counts):
    generator = torch.Generator().manual_seed(seed)
    return PrototypeHierarchy(
        PrototypeLevel(
            F.normalize(torch.randn(k, 4, generator=generator)),
            torch.randint(k, (200,), generator=generator),
            torch.ones(k),
        )
        for k in counts
    )


def test_agreement_of_the_counts_in_both():
    now, before = hierarchy(0, 20, 10), hierarchy(1, 10, 5)
    expected = adjusted_mutual_info_score(
        now.level(10).assignments, before.level(10).assignments
    )
    agreement = estep.agreement_by_level(now, before)
    assert set(agreement) == {10}
    assert abs(agreement[10] - expected) < 1e-12
    assert estep.agreement_by_level(now, None) == {}
    assert estep.agreement_by_level(now, now)[20] == 1.0
