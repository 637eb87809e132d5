//! The countries that a merchant may be in.
//!
//! The command line asks when a merchant is created or changed. What an order or an address says of a country is passed on
//! as it is.

/// The officially assigned codes of ISO 3166-1 alpha-2, in alphabetical order, as `iso3166.tab` of the IANA time zone
/// database has them (ISO/TC 46 N1108, 2023-04-05). Reserved codes such as UK, and those that users may assign, such as
/// XK, are no countries.
const ASSIGNED: [&str; 249] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ", "BA",
    "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS", "BT", "BV",
    "BW", "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN", "CO", "CR", "CU",
    "CV", "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE", "EG", "EH", "ER", "ES",
    "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF", "GG", "GH", "GI", "GL", "GM",
    "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM", "HN", "HR", "HT", "HU", "ID", "IE",
    "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM", "JO", "JP", "KE", "KG", "KH", "KI", "KM",
    "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC", "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY",
    "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK", "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT",
    "MU", "MV", "MW", "MX", "MY", "MZ", "NA", "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU",
    "NZ", "OM", "PA", "PE", "PF", "PG", "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA",
    "RE", "RO", "RS", "RU", "RW", "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM",
    "SN", "SO", "SR", "SS", "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL",
    "TM", "TN", "TO", "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE",
    "VG", "VI", "VN", "VU", "WF", "WS", "YE", "YT", "ZA", "ZM", "ZW",
];

/// The code of a country as it is stored, for one in any case; `None` where ISO 3166-1 assigns it to no country.
pub fn country_code(text: &str) -> Option<&'static str> {
    let code = text.to_ascii_uppercase();
    let place = ASSIGNED.binary_search(&code.as_str()).ok()?;
    Some(ASSIGNED[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assigned_code_is_in_the_table_once_and_in_order() {
        assert_eq!(ASSIGNED.len(), 249);
        assert!(ASSIGNED.is_sorted_by(|a, b| a < b));
        let is_code = |code: &str| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_uppercase());
        assert!(ASSIGNED.iter().all(|code| is_code(code)));
    }

    #[test]
    fn a_code_is_taken_in_any_case_where_it_is_assigned() {
        for (text, code) in
            [("GB", "GB"), ("de", "DE"), ("Mx", "MX"), ("AX", "AX"), ("ZW", "ZW"), ("AD", "AD")]
        {
            assert_eq!(country_code(text), Some(code));
        }
        for text in ["UK", "EU", "XK", "XX", "ZZ", "QQ", "AA", "AN", "", "D", "DEU", " DE", "Germany", "ÄÖ"]
        {
            assert_eq!(country_code(text), None, "{text}");
        }
    }
}
