"""Backbones of timm and torchvision by name, pooled as they pool."""

from __future__ import annotations

import os
from abc import abstractmethod
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

# The last layers that torchvision's models classify with, by their names.
_HEADS = ('fc', 'heads', 'head', 'classifier')


class _LibraryBackbone(BaseModule):
    """A model without its classifier: images to pooled features.

    Nothing is downloaded: weights are random, or come from a file.

    Attributes:
        model: The model of the library; its weights keep their names.
        weights: File of weights to start from, or None.
    """

    model: nn.Module
    weights: str | None

    def init_weights(self) -> None:
        """Read the weights of the file, where there is one.

        Raises:
            ValueError: If they do not fit the model.
        """
        if self.weights is None:
            return
        state = read_weights(self.weights)
        own = self.model.state_dict()
        left = {key: value for key, value in state.items() if key in own}
        missing = [key for key in own if key not in left]
        shapes = [k for k in left if left[k].shape != own[k].shape]
        # A classifier that the model has not is left out.
        extra = [key for key in state if key not in own and not _of_head(key)]
        if missing or shapes or extra:
            raise ValueError(
                f'expected weights of {self.describe()} in {self.weights}, '
                f'got {len(missing)} keys missing ({missing[:3]}), '
                f'{len(extra)} others ({extra[:3]}) and {len(shapes)} of '
                f'another shape ({shapes[:3]}); name the architecture that '
                'they are of'
            )
        self.model.load_state_dict(left)

    def describe(self) -> str:
        """Name the model, for messages."""
        return type(self.model).__name__

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) to one map (B, D, 1, 1), for any neck that pools.

        Raises:
            ValueError: If the model cannot take images of that size.
        """
        try:
            rows = self.features(images)
        except (AssertionError, RuntimeError, ValueError) as error:
            height, width = images.shape[-2:]
            raise ValueError(
                f'expected images that {self.describe()} can take, got '
                f'{height} x {width} px: {error}; {self.remedy()}'
            ) from error
        return (rows[:, :, None, None],)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to pooled features (B, D)."""

    def remedy(self) -> str:
        """Say what sizes the model takes."""
        size = getattr(self.model, 'image_size', None)
        patch = getattr(self.model, 'patch_size', None)
        embed = getattr(self.model, 'patch_embed', None)
        if embed is not None:
            size = getattr(embed, 'img_size', size)
            patch = getattr(embed, 'patch_size', patch)
        if patch is None:
            return 'larger images or another model'
        return (
            f'it is made for images of {size} px in patches of {patch} px: '
            'set img_size (timm) or image_size (torchvision) of '
            'model.backbone to the size of the views, a multiple of the patch'
        )


@MODELS.register_module()
class TimmBackbone(_LibraryBackbone):
    """A model of timm by name, such as ``vit_tiny_patch16_224``.

    Args:
        model_name: Name as ``timm.create_model`` takes it.
        pooling: How features are pooled, as timm's ``global_pool``: 'avg',
            'token' (class token) or 'max'; None for the model's own way.
        weights: File of timm's weights to start from, a state dict or
            safetensors; None for random ones. Nothing is downloaded.
        in_channels: Channels of the images.
        init_cfg: As in mmengine.
        **options: Options of the model, such as ``img_size=32`` and
            ``dynamic_img_size=True`` of a vision transformer.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If it has no such model, or an option does not fit.
    """

    def __init__(
        self,
        model_name: str,
        pooling: str | None = None,
        weights: str | None = None,
        in_channels: int = 3,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(init_cfg)
        try:
            import timm
        except ImportError as error:
            raise ImportError(
                'expected timm for TimmBackbone, got none; install it with: '
                'pip install timm'
            ) from error
        if not timm.is_model(model_name):
            near = timm.list_models(f'*{model_name.split("_")[0]}*')[:5]
            raise ValueError(
                f'expected the name of a model of timm, got {model_name!r}; '
                f'some names: {", ".join(near) or timm.list_models()[:5]}'
            )
        if pooling is not None:
            options['global_pool'] = pooling
        try:
            self.model = timm.create_model(
                model_name,
                pretrained=False,
                num_classes=0,
                in_chans=in_channels,
                **options,
            )
        except (TypeError, AssertionError) as error:
            raise ValueError(
                f'expected options that {model_name} of timm takes, got '
                f'{options}: {error}'
            ) from error
        self.model_name = model_name
        self.weights = weights

    def describe(self) -> str:
        """Name the model, for messages."""
        return f'{self.model_name} of timm'

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to pooled features (B, D)."""
        return self.model(images)


@MODELS.register_module()
class TorchvisionBackbone(_LibraryBackbone):
    """A model of torchvision by name, such as ``convnext_tiny``.

    Args:
        model_name: Name as ``torchvision.models.get_model`` takes it.
        pooling: Output of a vision transformer: 'token' (class token, None
            too) or 'avg', the mean of the others.
        weights: File of torchvision's weights to start from, a state dict or
            safetensors; None for random ones. Nothing is downloaded.
        init_cfg: As in mmengine.
        **options: Options of the model, such as ``image_size=32``.

    Raises:
        ValueError: If it has no such model, or an option does not fit.
    """

    def __init__(
        self,
        model_name: str,
        pooling: str | None = None,
        weights: str | None = None,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        super().__init__(init_cfg)
        import torchvision

        known = torchvision.models.list_models(torchvision.models)
        if model_name not in known:
            raise ValueError(
                'expected the name of a model of torchvision, got '
                f'{model_name!r}; it has {", ".join(known)}'
            )
        try:
            self.model = torchvision.models.get_model(
                model_name, weights=None, **options
            )
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'expected options that {model_name} of torchvision takes, '
                f'got {options}: {error}'
            ) from error
        is_transformer = isinstance(
            self.model, torchvision.models.VisionTransformer
        )
        if pooling not in (None, 'token', 'avg') or (
            pooling is not None and not is_transformer
        ):
            raise ValueError(
                "expected pooling 'token' or 'avg' for a vision transformer, "
                f'None for others, got {pooling!r} for {model_name}'
            )
        self.pooling = pooling
        self.model_name = model_name
        self.weights = weights
        take_head_off(self.model)

    def describe(self) -> str:
        """Name the model, for messages."""
        return f'{self.model_name} of torchvision'

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) to pooled features (B, D)."""
        if self.pooling != 'avg':
            return self.model(images).flatten(1)
        tokens = self.model._process_input(images)
        first = self.model.class_token.expand(len(tokens), -1, -1)
        return self.model.encoder(torch.cat([first, tokens], 1))[:, 1:].mean(1)


def take_head_off(model: nn.Module) -> None:
    """Replace the classifier of a model of torchvision, in place.

    What comes before its last linear layer and makes no classes, such as a
    norm, stays.

    Raises:
        ValueError: If it has no classifier of a known name.
    """
    name = next((n for n in _HEADS if hasattr(model, n)), None)
    if name is None:
        raise ValueError(
            f'expected a classifier called {", ".join(_HEADS)}, got a '
            f'{type(model).__name__} without; take a model of timm'
        )
    head = getattr(model, name)
    if isinstance(head, nn.Sequential) and isinstance(head[-1], nn.Linear):
        linear = sum(isinstance(layer, nn.Linear) for layer in head)
        if linear == 1:
            head[-1] = nn.Identity()
            for place, layer in enumerate(head):
                if isinstance(layer, nn.Dropout):
                    head[place] = nn.Identity()
            return
    setattr(model, name, nn.Identity())


def read_weights(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read weights by name from a state dict or a safetensors file.

    Args:
        path: The file.

    Raises:
        ValueError: If there is none, it cannot be read or holds no weights.
        ImportError: If safetensors is needed and not installed.
    """
    file = os.fspath(path)
    if not os.path.isfile(file):
        raise ValueError(
            f'expected a file of weights, got {file}, which does not exist'
        )
    try:
        if file.endswith('.safetensors'):
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, 'cpu', weights_only=True)
    except ImportError as error:
        raise ImportError(
            'expected safetensors, got none; install it with: pip install '
            '"ahpcl[export]"'
        ) from error
    except Exception as error:  # whatever a damaged file makes torch say
        said = str(error).partition('\n')[0]
        raise ValueError(
            f'expected weights that can be read, got {file}: {said}'
        ) from error
    for key in ('state_dict', 'model'):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(value, Tensor) for value in state.values()
    ):
        raise ValueError(f'expected weights by name, got others in {file}')
    return {key.removeprefix('module.'): v for key, v in state.items()}


def _of_head(key: str) -> bool:
    return key.split('.')[0] in _HEADS
