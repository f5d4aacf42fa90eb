//! Quantities of Kubernetes as whole numbers.
//!
//! Reads what the API server lets through; never rounds down, so that a limit made from a quantity
//! is never smaller than what was asked for.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Suffixes and what they multiply by; the longer ones first, since `Mi` ends like no other but
/// begins like `M`.
const SUFFIXES: [(&str, u128, u128); 13] = [
    ("Ki", 1 << 10, 1),
    ("Mi", 1 << 20, 1),
    ("Gi", 1 << 30, 1),
    ("Ti", 1 << 40, 1),
    ("Pi", 1 << 50, 1),
    ("Ei", 1 << 60, 1),
    ("m", 1, 1_000),
    ("k", 1_000, 1),
    ("M", 1_000_000, 1),
    ("G", 1_000_000_000, 1),
    ("T", 1_000_000_000_000, 1),
    ("P", 1_000_000_000_000_000, 1),
    ("E", 1_000_000_000_000_000_000, 1),
];

/// The most digits read after the decimal point.
const FRACTION_DIGITS_MAX: usize = 9;

/// The quantity in whole units (bytes, for storage), rounded up; nothing if it is none or too large.
#[must_use]
pub fn whole(quantity: &Quantity) -> Option<u64> {
    u64::try_from(scaled(quantity, 1)?).ok()
}

/// The quantity in thousandths, rounded up, so that 100m and 200m of a CPU differ.
pub(crate) fn thousandths(quantity: &Quantity) -> Option<u128> {
    scaled(quantity, 1_000)
}

fn scaled(quantity: &Quantity, by: u128) -> Option<u128> {
    let text = quantity.0.as_str();
    let (number, multiply, divide) = SUFFIXES
        .iter()
        .find_map(|(suffix, multiply, divide)| {
            text.strip_suffix(suffix)
                .map(|number| (number, *multiply, *divide))
        })
        .or_else(|| exponent(text))
        .unwrap_or((text, 1, 1));
    let (integer, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (integer.is_empty() && fraction.is_empty())
        || !digits(integer)
        || !digits(fraction)
        || fraction.len() > FRACTION_DIGITS_MAX
    {
        return None;
    }
    let shift = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let all: u128 = format!("{integer}{fraction}").parse().ok()?;
    Some(
        all.checked_mul(multiply)?
            .checked_mul(by)?
            .div_ceil(shift.checked_mul(divide)?),
    )
}

/// A number with a decimal exponent, such as `1e9`.
fn exponent(text: &str) -> Option<(&str, u128, u128)> {
    let (number, exponent) = text.split_once(['e', 'E'])?;
    Some((number, 10_u128.checked_pow(exponent.parse().ok()?)?, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_quantity_is_read() {
        for (text, bytes) in [
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("128974848000m", 128_974_848),
            ("1m", 1),
            (".5k", 500),
        ] {
            assert_eq!(whole(&Quantity(text.into())), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            "ten",
            "1GB",
            "-1Gi",
            "1.2.3",
            "Gi",
            ".",
            "1e99",
            "99999999999Ei",
        ] {
            assert_eq!(whole(&Quantity(text.into())), None, "{text}");
        }
    }
}
