"""Computes the colour of skin from two pigments, with a model of two layers seen in daylight.

The upper layer (epidermis) holds melanin, the lower one (dermis) blood.

Sources: absorption fits for melanin and the bloodless baseline and the scattering of skin after
S. L. Jacques ("Skin optics", 1998; "Optical properties of biological tissues: a review", 2013);
haemoglobin's molar extinction as tabulated by S. A. Prahl (Oregon Medical Laser Center, 1998);
Kubelka-Munk reflectance of a thick layer; CIE standard illuminant D65 (10 nm steps); the CIE 1931
observer in the multi-lobe fit of Wyman, Sloan and Shirley (JCGT 2013); sRGB after IEC 61966-2-1.
"""
import numpy as np

WAVELENGTH = np.arange(400, 701, 10.)                            # nm
OXY = np.array([266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209, 26629, 23684, 20933, 20035,
                24202, 39957, 53236, 43017, 32613, 44496, 50104, 14401, 3200, 1506, 942, 610, 442, 368,
                320, 294, 278, 276, 290.])                       # cm^-1 / (mol / litre)
DEOXY = np.array([223296, 303956, 407560, 528600, 413280, 103292, 23389, 16156, 14550, 16684, 20862,
                  25774, 31590, 39036, 46592, 53412, 53788, 45072, 37020, 28324, 14677, 9444, 6510, 5149,
                  4345, 3750, 3227, 2795, 2408, 2052, 1794.])
D65 = np.array([82.75, 91.49, 93.43, 86.68, 104.86, 117.01, 117.81, 114.86, 115.92, 108.81, 109.35, 107.80,
                104.79, 107.69, 104.41, 104.05, 100., 96.33, 95.79, 88.69, 90.01, 89.60, 87.70, 83.29, 83.70,
                80.03, 80.21, 82.28, 78.28, 69.72, 71.61])
XYZ_TO_RGB = np.array([[3.2406, -1.5372, -.4986], [-.9689, 1.8758, .0415], [.0557, -.2040, 1.0570]])
OXYGENATION = .75                                                # share of the haemoglobin that carries oxygen
EPIDERMIS_CM = .005                                              # thickness
PATH_FACTOR = 1.6                                                # diffuse light crosses the epidermis at an angle
SURFACE_GLOSS = .042                                             # Fresnel reflection at the surface


def _lobe(centre, below, above):
    return np.exp(-.5 * ((WAVELENGTH - centre) * np.where(WAVELENGTH < centre, below, above)) ** 2)


OBSERVER = np.stack([
    1.056 * _lobe(599.8, .0264, .0323) + .362 * _lobe(442., .0624, .0374) - .065 * _lobe(501.1, .0490, .0382),
    .821 * _lobe(568.8, .0213, .0247) + .286 * _lobe(530.9, .0613, .0322),
    1.217 * _lobe(437., .0845, .0278) + .681 * _lobe(459., .0385, .0725)])


def reflectance(melanin, blood):
    """Returns the reflectance of skin (..., 31), 0..1, at the wavelengths WAVELENGTH.

    melanin, blood: (...,) volume fractions of melanosomes in the epidermis and of blood in the dermis, 0..1.
    """
    melanin, blood = (np.asarray(v, float)[..., None] for v in (melanin, blood))
    baseline = .244 + 85.3 * np.exp(-(WAVELENGTH - 154) / 66.2)
    melanosome = 6.6e11 * WAVELENGTH ** -3.33
    # 150 g/l of haemoglobin at 64500 g/mol
    whole_blood = 2.303 * 150 / 64500 * (OXYGENATION * OXY + (1 - OXYGENATION) * DEOXY)
    epidermis = melanin * melanosome + (1 - melanin) * baseline
    dermis = blood * whole_blood + (1 - blood) * baseline
    ratio = 2 * dermis / (.75 * 46 * (WAVELENGTH / 500) ** -1.421)
    deep = 1 + ratio - np.sqrt(ratio ** 2 + 2 * ratio)
    through = np.exp(-2 * PATH_FACTOR * epidermis * EPIDERMIS_CM)
    return SURFACE_GLOSS + (1 - SURFACE_GLOSS) * through * deep * .94


def srgb(spectrum):
    """Converts reflectance (..., 31) to sRGB (..., 3), 0..255, under the daylight D65."""
    white = OBSERVER @ D65
    xyz = np.asarray(spectrum) * D65 @ OBSERVER.T / white * [.9505, 1., 1.089]
    linear = np.clip(xyz @ XYZ_TO_RGB.T, 0, 1)
    return 255 * np.where(linear <= .0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - .055)


class SkinTable:
    """A table of skin colours over the logarithms of melanin and blood, for fast bilinear lookup."""

    def __init__(self, size=48):
        self.melanin = np.linspace(np.log(.003), np.log(.6), size)
        self.blood = np.linspace(np.log(.002), np.log(.5), size)
        grid = np.meshgrid(np.exp(self.melanin), np.exp(self.blood), indexing='ij')
        self.table = srgb(reflectance(*grid)).astype(np.float32)

    def __call__(self, melanin, blood):
        """Returns sRGB (..., 3), 0..255.

        melanin, blood: (...,) natural logarithms of the volume fractions; values beyond the table are clipped.
        """
        def place(value, axis):
            return np.clip((value - axis[0]) / (axis[1] - axis[0]), 0, len(axis) - 1.001)

        a, b = place(melanin, self.melanin), place(blood, self.blood)
        i, j = a.astype(int), b.astype(int)
        fa, fb = (a - i)[..., None], (b - j)[..., None]
        t = self.table
        return ((1 - fa) * ((1 - fb) * t[i, j] + fb * t[i, j + 1])
                + fa * ((1 - fb) * t[i + 1, j] + fb * t[i + 1, j + 1]))
