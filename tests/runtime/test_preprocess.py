"""Images of every accepted form and size become the network input that the rule says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphdet.errors import BadImage, MissingFile, UnknownName
from graphdet.records import Array, Preprocess
from graphdet.runtime.preprocess import Image, fitted, prepare

PLAIN = Preprocess(size=(64, 64), pad=114.0)
SHORT = Preprocess(size=(800, 1333), fit="short_side")


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def test_identity_keeps_pixels_and_pads_right_and_bottom() -> None:
    image = noise(64, 40)
    out = prepare([image], PLAIN, size=(64, 64))
    assert out.pixels.dtype == np.float32
    assert np.array_equal(out.pixels[0, :, :, :40], image.transpose(2, 0, 1))
    assert (out.pixels[0, :, :, 40:] == 114).all()
    assert out.size.tolist() == [[64, 40]]
    assert out.geometry.tolist() == [[1, 1, 0, 0]]
    assert out.shapes == ((64, 40),)


def test_channel_order_and_normalisation() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[...] = (10, 20, 30)  # BGR
    spec = Preprocess(order="rgb", mean=(1, 2, 3), std=(2, 4, 8), size=(8, 8), divisor=8)
    expected = [(30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8]
    assert prepare([image], spec).pixels[0, :, 0, 0].tolist() == expected
    assert prepare([image[..., ::-1]], spec, order="rgb").pixels[0, :, 0, 0].tolist() == expected


def test_normalisation_is_float32_subtract_then_divide() -> None:
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    spec = Preprocess(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), size=(16, 16), divisor=16)
    for channel, (mean, std) in enumerate(zip(spec.mean, spec.std, strict=True)):
        expected = (image.astype(np.float32) - np.float32(mean)) / np.float32(std)
        assert np.array_equal(prepare([image], spec).pixels[0, channel], expected)


def test_gray_and_alpha() -> None:
    gray, colour = noise(20, 30, 1), noise(20, 30, 3)
    wide = np.repeat(gray, 3, axis=2)
    expected = prepare([wide], PLAIN).pixels
    assert np.array_equal(prepare([gray], PLAIN).pixels, expected)
    assert np.array_equal(prepare([gray[..., 0]], PLAIN).pixels, expected)
    alpha = np.concatenate([colour, noise(20, 30, 1, seed=5)], axis=2)
    assert np.array_equal(prepare([alpha], PLAIN).pixels, prepare([colour], PLAIN).pixels)
    flipped = np.concatenate([colour[..., ::-1], alpha[..., 3:]], axis=2)
    assert np.array_equal(prepare([flipped], PLAIN, order="rgb").pixels, prepare([colour], PLAIN).pixels)


def test_strided_arrays() -> None:
    big = noise(80, 120)
    for view in (big[::2, ::3], big[::-1, ::-1], big.transpose(1, 0, 2), np.asfortranarray(big)):
        assert np.array_equal(prepare([view], PLAIN).pixels, prepare([view.copy(order="C")], PLAIN).pixels)


def test_read_only_and_input_is_not_written() -> None:
    image = noise(64, 64)
    image.setflags(write=False)
    assert np.array_equal(prepare([image], PLAIN).pixels[0], image.transpose(2, 0, 1))


def test_path_and_array_agree(tmp_path: Path) -> None:
    image = noise(37, 51)
    path = tmp_path / "Bild ü.png"
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    for given_path in (path, str(path)):
        assert np.array_equal(prepare([given_path], PLAIN).pixels, prepare([image], PLAIN).pixels)


def test_orientation_tag_is_ignored(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", noise(40, 20))[1].tobytes()
    tiff = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # 6: turned by 90 degrees
    path = tmp_path / "turned.jpg"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(tiff) + 2).to_bytes(2, "big") + tiff + jpeg[2:])
    turned = cv2.imread(str(path))
    assert turned is not None
    assert turned.shape[:2] == (20, 40)
    assert prepare([path], PLAIN).shapes == ((40, 20),)


@pytest.mark.parametrize("spec", [PLAIN, SHORT])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_images(spec: Preprocess, shape: tuple[int, int]) -> None:
    out = prepare([noise(*shape)], spec)
    assert (out.size >= 1).all()
    assert out.pixels.shape[2] >= out.size[0, 0]
    assert np.isfinite(out.pixels).all()


def test_mixed_sizes_pad_to_the_batch_maximum() -> None:
    out = prepare([noise(64, 20), noise(10, 64), noise(33, 33)], PLAIN)
    assert out.pixels.shape == (3, 3, 64, 64)
    assert out.size.tolist() == [[64, 20], [10, 64], [64, 64]]
    assert prepare([noise(64, 20)], PLAIN).pixels.shape == (1, 3, 64, 32)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((480, 640), None, (800, 1067)),
        ((640, 480), None, (1067, 800)),
        ((100, 1000), None, (133, 1333)),
        ((640, 480), (800, 1344), (800, 600)),
        ((480, 640), (1600, 1600), (800, 1067)),
    ],
)
def test_short_side(shape: tuple[int, int], size: tuple[int, int] | None, expected: tuple[int, int]) -> None:
    assert fitted(shape, SHORT, size) == expected


@given(
    st.tuples(st.integers(1, 6000), st.integers(1, 6000)),
    st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    st.sampled_from(["letterbox", "short_side", "stretch"]),
)
def test_fitted_stays_inside_the_canvas(shape: tuple[int, int], size: tuple[int, int], fit: str) -> None:
    height, width = fitted(shape, Preprocess(size=(800, 1333), fit=fit), size)
    assert 1 <= height <= size[0]
    assert 1 <= width <= size[1]


def test_geometry_of_short_side_maps_image_corners_to_the_unpadded_size() -> None:
    out = prepare([noise(333, 500)], SHORT)
    assert np.allclose(out.geometry[0, :2] * (500, 333), out.size[0, ::-1])


def test_stretch_fills_the_canvas() -> None:
    out = prepare([noise(333, 500), noise(60, 20)], Preprocess(size=(300, 280), fit="stretch", divisor=1))
    assert out.pixels.shape == (2, 3, 300, 280)
    assert out.size.tolist() == [[300, 280]] * 2
    assert np.allclose(out.geometry[:, :2], [[280 / 500, 300 / 333], [280 / 20, 300 / 60]])


def test_geometry_of_letterbox_is_one_scale_for_both_axes() -> None:
    out = prepare([noise(333, 500)], PLAIN)
    scale_x, scale_y = out.geometry[0, :2]
    assert scale_x == scale_y
    assert out.size[0].tolist() == [int(333 * scale_y), int(500 * scale_x)]


def test_no_images() -> None:
    out = prepare([], PLAIN)
    assert out.pixels.shape == (0, 3, 32, 32)
    assert out.size.shape == (0, 2)
    assert out.geometry.shape == (0, 4)
    assert prepare([], PLAIN, size=(64, 96)).pixels.shape == (0, 3, 64, 96)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3), np.float32), "image 1 has dtype float32"),
        (np.zeros((3, 4, 5), np.uint8), r"image 1 has shape 3x4x5(.|\n)*channels come last"),
        (np.zeros((4, 4, 2), np.uint8), "4x4x2"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"2x4x4x3(.|\n)*list\(batch\)"),
        (np.zeros((4,), np.uint8), "shape 4,"),
        (np.zeros((0, 4, 3), np.uint8), "empty"),
        (np.zeros((4, 0), np.uint8), "empty"),
        (None, "NoneType"),
        ([[1, 2]], "list"),
    ],
)
def test_bad_arrays(image: Image, words: str) -> None:
    with pytest.raises(BadImage, match=words):
        prepare([noise(4, 4), image], PLAIN)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"image 7: .*absent\.jpg"):
        prepare([tmp_path / "absent.jpg"], PLAIN, first=7)
    for name, data in (("empty.jpg", b""), ("text.jpg", b"not an image"), ("cut.png", b"\x89PNG\r\n\x1a\n\0\0")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadImage, match=name):
            prepare([tmp_path / name], PLAIN)
    with pytest.raises(BadImage):
        prepare([tmp_path], PLAIN)


def test_bad_order() -> None:
    with pytest.raises(UnknownName, match="'brg'"):
        prepare([], PLAIN, order="brg")


def test_bfloat16_pixels_are_those_of_float32_rounded() -> None:
    torch = pytest.importorskip("torch")
    images = [noise(40, 64), noise(30, 20, seed=1)]
    spec = Preprocess(mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395), size=(64, 64), pad=114.0)
    full, halved = prepare(images, spec), prepare(images, spec, dtype="bfloat16")
    assert halved.pixels.dtype.name == "bfloat16"
    assert np.array_equal(halved.pixels, full.pixels.astype(halved.pixels.dtype))  # as ml_dtypes rounds
    tensor = torch.from_numpy(halved.pixels.view(np.int16)).view(torch.bfloat16)  # as the documentation says
    assert torch.equal(tensor, torch.from_numpy(full.pixels).to(torch.bfloat16))
    assert np.array_equal(halved.geometry, full.geometry)
    with pytest.raises(UnknownName, match="dtype 'bfloat', expected float32 or bfloat16"):
        prepare(images, spec, dtype="bfloat")
