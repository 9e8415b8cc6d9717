//! How far two colours are apart for people with and without full colour vision.

/// Kinds of colour vision. The matrices are those of Machado, Oliveira and Fernandes (2009) for a full deficiency, applied to
/// linear light.
#[derive(Clone, Copy, Debug)]
pub enum Vision {
    Full,
    Protanopia,
    Deuteranopia,
    Tritanopia,
}

type Matrix = [[f64; 3]; 3];

impl Vision {
    pub const ALL: [Self; 4] = [Self::Full, Self::Protanopia, Self::Deuteranopia, Self::Tritanopia];

    const fn matrix(self) -> Matrix {
        match self {
            Self::Full => [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
            Self::Protanopia => [
                [0.152_286, 1.052_583, -0.204_868],
                [0.114_503, 0.786_281, 0.099_216],
                [-0.003_882, -0.048_116, 1.051_998],
            ],
            Self::Deuteranopia => [
                [0.367_322, 0.860_646, -0.227_968],
                [0.280_085, 0.672_501, 0.047_413],
                [-0.011_820, 0.042_940, 0.968_881],
            ],
            Self::Tritanopia => [
                [1.255_528, -0.076_749, -0.178_779],
                [-0.078_411, 0.930_809, 0.147_602],
                [0.004_733, 0.691_367, 0.303_900],
            ],
        }
    }
}

/// Returns the distance of two sRGB colours (0 to 255) in OKLab × 100, as seen by this vision.
pub fn distance(one: [f64; 3], other: [f64; 3], seen_by: Vision) -> f64 {
    let seen =
        |colour: [f64; 3]| oklab(times(seen_by.matrix(), colour.map(linear)).map(|c| c.clamp(0.0, 1.0)));
    let (one, other) = (seen(one), seen(other));
    let squares: f64 = one.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum();
    squares.sqrt() * 100.0
}

fn linear(value: f64) -> f64 {
    let value = value / 255.0;
    if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
}

fn times(matrix: Matrix, vector: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

/// Converts linear sRGB to OKLab.
fn oklab(colour: [f64; 3]) -> [f64; 3] {
    const TO_CONES: Matrix = [
        [0.412_221_470_8, 0.536_332_536_3, 0.051_445_992_9],
        [0.211_903_498_2, 0.680_699_545_1, 0.107_396_956_6],
        [0.088_302_461_9, 0.281_718_837_6, 0.629_978_700_5],
    ];
    const TO_LAB: Matrix = [
        [0.210_454_255_3, 0.793_617_785_0, -0.004_072_046_8],
        [1.977_998_495_1, -2.428_592_205_0, 0.450_593_709_9],
        [0.025_904_037_1, 0.782_771_766_2, -0.808_675_766_0],
    ];
    times(TO_LAB, times(TO_CONES, colour).map(f64::cbrt))
}
