//! Times that mails show as days, and the time zones that they are shown in.

use jiff::{civil::Date, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::mail::Timestamp;

/// The longest name of a time zone, in bytes.
const LONGEST_NAME: usize = 64;

/// The day that a date (`2026-03-01`) or a time in RFC 3339 names, in a time zone, else in UTC.
pub fn day_in(text: &str, zone: Option<&Timezone>) -> Option<Date> {
    if text.len() == "2026-03-01".len() {
        return text.parse().ok();
    }
    Timestamp::parse(text).ok().map(|at| day_of(at, zone))
}

/// The day of a point in time, in a time zone, else in UTC.
pub fn day_of(at: Timestamp, zone: Option<&Timezone>) -> Date {
    let zone = zone.map_or(TimeZone::UTC, |zone| zone.zone.clone());
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or(jiff::Timestamp::MAX).to_zoned(zone).date()
}

/// A time zone by its name in the IANA database, as in `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timezone {
    name: String,
    zone: TimeZone,
}

impl Timezone {
    /// The time zone of this name.
    pub fn called(name: &str) -> Option<Self> {
        let zone = (name.len() <= LONGEST_NAME).then(|| TimeZone::get(name).ok()).flatten();
        let zone = zone.filter(|zone| !zone.is_unknown())?;
        Some(Self { zone, name: name.to_owned() })
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

impl Serialize for Timezone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Timezone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let wrong = || D::Error::custom("must be a time zone of the IANA database, as in \"Europe/Berlin\"");
        Self::called(&name).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shop::{format::format_day, language::Language};

    fn zone(name: &str) -> Option<Timezone> {
        serde_json::from_value(name.into()).ok()
    }

    #[test]
    fn a_day_is_the_readers() {
        use Language::{De, En, Es, Fr, It, Pt};
        for (language, time, in_zone, expected) in [
            (De, "2026-03-01T00:30:00+01:00", None, "28. Februar 2026"),
            (De, "2026-03-01T00:30:00+01:00", Some("Europe/Berlin"), "1. März 2026"),
            (De, "2026-02-28T23:30:00Z", Some("Europe/Berlin"), "1. März 2026"),
            (De, "2026-02-28T23:30:00Z", None, "28. Februar 2026"),
            (En, "2026-12-31T23:59:59-05:00", None, "1 January 2027"),
            (En, "2027-01-01T04:59:59Z", Some("America/New_York"), "31 December 2026"),
            (En, "2027-01-01T05:00:00Z", Some("America/New_York"), "1 January 2027"),
            // Summer time began an hour before: the clock is two hours ahead, not one.
            (Fr, "2026-03-29T22:30:00Z", Some("Europe/Paris"), "30 mars 2026"),
            (Fr, "2026-10-25T22:30:00Z", Some("Europe/Paris"), "25 octobre 2026"),
            (It, "2026-06-30T22:00:00Z", Some("Europe/Rome"), "1 luglio 2026"),
            (Es, "2026-05-01T05:30:00Z", Some("America/Mexico_City"), "30 de abril de 2026"),
            (Pt, "2026-01-01T02:59:00Z", Some("America/Sao_Paulo"), "31 de dezembro de 2025"),
            (Pt, "2026-06-30T23:00:00Z", Some("Europe/Lisbon"), "1 de julho de 2026"),
            (De, "2026-03-01T00:30:00+01:00", Some("UTC"), "28. Februar 2026"),
            (De, "2028-02-28T23:30:00Z", Some("Europe/Vienna"), "29. Februar 2028"),
            (De, "2026-12-31T23:00:00Z", Some("Europe/Berlin"), "1. Januar 2027"),
            (En, "2026-02-28T13:30:00Z", Some("Pacific/Auckland"), "1 March 2026"),
            (En, "2026-03-01T01:30:00+14:00", Some("Pacific/Honolulu"), "28 February 2026"),
            (En, "2026-10-24T23:30:00Z", Some("Europe/London"), "25 October 2026"),
            (En, "2026-04-04T13:29:00Z", Some("Australia/Lord_Howe"), "5 April 2026"),
            (Fr, "2026-12-31T23:30:00+01:00", None, "31 décembre 2026"),
            (Fr, "2026-02-28T23:00:00Z", Some("Europe/Paris"), "1er mars 2026"),
            (It, "2026-12-31T23:00:00Z", Some("Europe/Rome"), "1 gennaio 2027"),
            (It, "2026-10-24T22:00:00Z", Some("Europe/Rome"), "25 ottobre 2026"),
            (It, "2026-02-28T23:30:00Z", None, "28 febbraio 2026"),
            (Es, "2026-12-31T23:00:00Z", Some("Europe/Madrid"), "1 de enero de 2027"),
            (Es, "2026-03-28T23:00:00Z", Some("Europe/Madrid"), "29 de marzo de 2026"),
            (Es, "2026-09-06T03:30:00Z", Some("America/Santiago"), "5 de septiembre de 2026"),
            (Pt, "2026-03-29T00:30:00Z", Some("Europe/Lisbon"), "29 de março de 2026"),
            (Pt, "2026-10-24T23:30:00Z", Some("Europe/Lisbon"), "25 de outubro de 2026"),
        ] {
            let zone = in_zone.map(|name| zone(name).unwrap());
            let shown = format_day(language, day_in(time, zone.as_ref()).unwrap());
            assert_eq!(shown, expected, "{time} {in_zone:?}");
        }
    }

    #[test]
    fn a_time_zone_has_a_name_of_the_database() {
        for name in ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires"] {
            assert_eq!(serde_json::to_value(zone(name).unwrap()).unwrap(), name);
        }
        for name in
            ["", "Europe/Berlinn", "+01:00", "Etc/Unknown", "../etc/passwd", "CET-1CEST,M3.5.0,M10.5.0/3"]
        {
            assert!(zone(name).is_none(), "{name}");
        }
    }
}
