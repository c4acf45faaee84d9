from __future__ import annotations

import numpy as np

from defian_edge.calibration.ranges.observers import ChannelMaxima, JointMoment


def tensors(count=3, channels=4, size=9):
    random = np.random.default_rng(0)
    return [random.normal(size=(1, channels, size, size + 2)).astype(np.float32) for _ in range(count)]


def test_maxima_are_those_of_all_tensors_together():
    observer = ChannelMaxima(4)
    for values in tensors():
        observer.add(values)
    assert np.array_equal(observer.maxima, np.abs(np.concatenate(tensors())).max(axis=(0, 2, 3)))


def test_a_joint_moment_has_windows_a_one_and_pixels_weighted_by_their_effect():
    image, pixels = tensors(2, 3, 6)
    observer = JointMoment(3, 3, np.eye(3))
    observer.add(image, pixels)
    weights = np.linalg.norm(pixels, axis=1)
    assert observer.moment.shape == (31, 31)
    assert np.allclose(observer.moment, observer.moment.T)
    assert np.isclose(observer.moment[27, 27], weights.sum())
    centre = [4, 13, 22]  # the middle of each 3x3 window
    expected = np.einsum("nchw,ndhw,nhw->cd", image, pixels, weights)
    assert np.allclose(observer.moment[centre][:, 28:], expected, rtol=1e-4)
