"""Reduce a screenshot to a PNG of 256 colours. It looks the same, because pages have few colours, and has a fourth of the bytes.

Chromium takes the screenshot and decodes its pixels, so no imaging library is needed.
"""

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

COLOURS = 256

PIXELS = """async png => {
    const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
    const canvas = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
    canvas.drawImage(picture, 0, 0);
    const pixels = canvas.getImageData(0, 0, picture.width, picture.height).data;
    return new Promise(done => {
        const reader = new FileReader();
        reader.onload = () => done([picture.width, picture.height, reader.result.split(",")[1]]);
        reader.readAsDataURL(new Blob([pixels]));
    });
}"""


def small(png: bytes, blank: Page) -> bytes:
    """Return the reduced PNG.

    :param blank: a page of any browser, at about:blank.
    """
    width, height, pixels = blank.evaluate(PIXELS, base64.b64encode(png).decode())
    packed = np.frombuffer(base64.b64decode(pixels), np.uint32)  # one number a pixel: red, green, blue, alpha
    palette, indices = _fewer(packed)
    rows = np.zeros((height, 1 + width), np.uint8)  # each row starts with its filter, which is 0: none
    rows[:, 1:] = indices.reshape(height, width)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _fewer(packed: NDArray[np.uint32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Choose up to COLOURS colours. Return them, one in a row, and the index of the nearest one for each pixel.

    The most common colour comes first. Each next one is the colour with the largest error so far, weighted by its pixels.
    """
    found, which, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = found.view(np.uint8).reshape(-1, 4)[:, :3]
    apart = np.full(len(found), np.inf)  # squared distance to the nearest chosen colour
    nearest = np.zeros(len(found), np.uint8)
    taken: list[int] = []
    while len(taken) < min(COLOURS, len(found)):
        taken.append(int((counts * np.minimum(apart, 1e6)).argmax()))
        there = ((colours - colours[taken[-1]].astype(float)) ** 2).sum(axis=1)
        nearest[there < apart] = len(taken) - 1
        apart = np.minimum(apart, there)
    return colours[taken], nearest[which]


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
