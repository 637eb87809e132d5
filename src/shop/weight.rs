//! The weights with which a client says what it prefers, in `Accept` and `Accept-Language` (RFC 9110, section 12.4.2). Pure.

/// The weight among the parameters of an element, in thousandths: 0 is "not acceptable", and an element that names none
/// has 1000. `None` when what stands there is no weight.
pub fn weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> Option<u16> {
    let given = parameters
        .find_map(|parameter| parameter.trim().strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('='));
    given.map_or(Some(1000), |weight| thousandths(weight.trim_start()))
}

/// 0 to 1 with up to three decimals.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, decimals) {
        ("0", _) => Some(decimals),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_0_to_1_with_three_decimals() {
        for (parameters, expected) in [
            ("", Some(1000)),
            ("level=1", Some(1000)),
            ("q=1", Some(1000)),
            ("q=1.000", Some(1000)),
            (" Q = 0.3 ", Some(300)),
            ("level=1;q=0.25", Some(250)),
            ("q=0", Some(0)),
            ("q=0.", Some(0)),
            ("q=1.5", None),
            ("q=0.1234", None),
            ("q=-1", None),
            ("q=.5", None),
            ("q=", None),
            ("q=0.é", None),
        ] {
            assert_eq!(weight(parameters.split(';')), expected, "{parameters}");
        }
    }
}
