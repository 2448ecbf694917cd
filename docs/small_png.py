"""A screenshot as a PNG of 256 colours, which has a fourth of the bytes and looks the same: pages have few colours.

Chromium, which took it, says its pixels; nothing that reads pictures is needed.
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
    """`blank`: a page of any browser, at about:blank."""
    width, height, pixels = blank.evaluate(PIXELS, base64.b64encode(png).decode())
    packed = np.frombuffer(base64.b64decode(pixels), np.uint32)  # a pixel: red, green, blue, and opaque
    palette, indices = _fewer(packed)
    rows = np.zeros((height, 1 + width), np.uint8)  # before each row the filter that it went through: none
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
    """Some of the colours, a row each, and for each pixel the number of the nearest of them.

    First the commonest is taken, then again and again the one that would be missed most: by how many pixels, and how much.
    """
    found, which, counts = np.unique(packed, return_inverse=True, return_counts=True)
    colours = found.view(np.uint8).reshape(-1, 4)[:, :3]
    apart = np.full(len(found), np.inf)  # from the nearest that is taken, squared
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
