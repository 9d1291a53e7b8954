"""What two configs differ in, of the text that mmengine writes."""

from mmengine.config import Config

from ahpcl.runtime.config_difference import config_difference, read_text


def test_the_text_of_a_config_reads_as_the_config():
    keys = {'head.loss_proto': dict(lr_mult=10.0), 'neck': dict(decay_mult=0)}
    config = Config(
        dict(
            optim_wrapper=dict(paramwise_cfg=dict(custom_keys=keys)),
            rungs=[(1, 2), {'a b': None}],
        )
    )
    assert 'dict({' in config.pretty_text  # keys that are no names
    read = read_text(config.pretty_text)
    assert config_difference(read, config.to_dict()) == {}
    keys['head.loss_proto']['lr_mult'] = 3.0
    assert config_difference(read, dict(config.to_dict(), b=1)) == {
        'b': ('nothing', '1'),
    }
    changed = config.to_dict()
    changed['optim_wrapper']['paramwise_cfg']['custom_keys'] = keys
    (found,) = config_difference(read, changed).values()
    assert found == ('10.0', '3.0')
