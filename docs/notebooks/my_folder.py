# %% [markdown]
# # My folder: train, look, assign, sort, export
#
# Cells in the percent format: open this file in VS Code, PyCharm or Jupyter
# (with jupytext), or run it as it is. It needs a folder of images, in any
# nesting, and new images to sort; here both are drawn, so that it runs
# anywhere.

# %%
from pathlib import Path

import ahpcl

PHOTOS = Path('photos')
NEW = Path('new')
OUT = Path('runs/photos')
LENGTH = dict(minutes=10)

# %% [markdown]
# Without a folder of your own: squares, circles and stripes in all colours.
# Replace this cell.

# %%
import random

from PIL import Image, ImageDraw


def draw(kind: str, seed: int) -> Image.Image:
    """One picture of a kind, 32 x 32 px."""
    chance = random.Random(f'{kind}{seed}')
    back, front = (
        tuple(chance.randrange(256) for _ in range(3)) for _ in range(2)
    )
    image = Image.new('RGB', (32, 32), back)
    pen = ImageDraw.Draw(image)
    left, top = chance.randrange(2, 10), chance.randrange(2, 10)
    box = (left, top, left + 18, top + 18)
    if kind == 'square':
        pen.rectangle(box, fill=front)
    elif kind == 'circle':
        pen.ellipse(box, fill=front)
    else:
        for row in range(top % 4, 32, 6):
            pen.rectangle((0, row, 31, row + 2), fill=front)
    return image


def fill(folder: Path, count: int, first: int) -> None:
    """Draw so many pictures of every kind."""
    for kind in ('circle', 'square', 'stripes'):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            draw(kind, number).save(folder / kind / f'{number:03d}.png')


if not PHOTOS.exists():
    fill(PHOTOS, 100, 0)
if not NEW.exists():
    fill(NEW, 4, 100)

# %% [markdown]
# ## Train
#
# The first screen says what is trained on what, and why. `epochs=...` instead
# of `minutes=...`, and any key of the config by `cfg_options={...}`. With
# `resume=True` the cell may be run again: a finished run is left as it is.

# %%
if __name__ == '__main__':  # as Python asks for where workers are spawned
    run = ahpcl.train(PHOTOS, out=OUT, resume=True, **LENGTH)

# %% [markdown]
# ## Report and gallery
#
# One HTML page: was it worth training, curves, clusters, a gallery of
# prototypes and an explorer of their hierarchy. Open it in a browser.

# %%
from ahpcl.cli.main import main as command

command(['report', str(OUT)])
print(OUT / 'report.html')

# %%
command(['figures', str(OUT), '--kinds', 'gallery', 'curves'])
print(*sorted((OUT / 'figures').glob('*.png')), sep='\n')

# %% [markdown]
# ## Vectors, clusters, similar images
#
# From here on the training images need not be there any more.

# %%
encoder = ahpcl.load(OUT)
features = encoder.embed(NEW)
print(encoder, features.shape)

# %%
found = encoder.assign(NEW)
print(found)

# %% [markdown]
# ## Sort new images into folders, one per cluster

# %%
sorted_folder = OUT / 'sorted'
command(['assign', str(OUT), str(NEW), '--sort-into', str(sorted_folder)])
print(*sorted(path.name for path in sorted_folder.iterdir()), sep='\n')

# %% [markdown]
# ## Export
#
# The ONNX file needs neither torch nor ahpcl; with `preprocess=True` pixels
# go in as they are. A model card lies beside it.

# %%
try:
    print(encoder.export(OUT / 'encoder.onnx', preprocess=True))
except ImportError as error:  # ONNX is an extra
    print(error)
print(encoder.export(OUT / 'encoder.safetensors'))
