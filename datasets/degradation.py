"""Makes photos worse at random, so that a network learns to read poor ones: what it sees, not what losses compare."""
import cv2
import numpy as np

# The share of degraded photos to which each change is made
GREY, BLURRED, SMALL, NOISY, COVERED, COMPRESSED = 0.2, 0.3, 0.15, 0.25, 0.25, 0.25


def degrade(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A worse copy of a crop (224, 224, 3) uint8 RGB: a random choice of less colour, blur, fewer pixels, noise,
    rectangles in one colour that cover a part, and the traces of JPEG compression."""
    size = photo.shape[0]
    pixels = photo.astype(np.float32)
    if rng.random() < GREY:
        pixels += rng.uniform(0.5, 1) * (pixels.mean(2, keepdims=True) - pixels)
    if rng.random() < BLURRED:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 2.2))
    if rng.random() < SMALL:
        side = int(rng.integers(size // 4, size * 5 // 8))
        small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < NOISY:
        pixels += rng.normal(0, rng.uniform(2, 10), pixels.shape).astype(np.float32)
    if rng.random() < COVERED:
        for _ in range(rng.integers(1, 3)):
            left, top = rng.integers(0, size * 7 // 8, 2)
            width, height = rng.integers(size // 15, size // 3, 2)
            pixels[top:top + height, left:left + width] = rng.uniform(0, 255, 3)
    pixels = pixels.round().clip(0, 255).astype(np.uint8)
    if rng.random() < COMPRESSED:
        bgr = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 81))])[1]
        pixels = np.ascontiguousarray(cv2.imdecode(bgr, cv2.IMREAD_COLOR)[..., ::-1])
    return pixels
