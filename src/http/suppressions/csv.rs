//! Suppressions as CSV (RFC 4180): one line each below a head. What is written here reads back.

use crate::{
    http::error::{FieldError, fault},
    store::{NewSuppression, SuppressionRecord},
};

use super::document;

/// The head.
pub const HEAD: &str = "address,reason,scope,note,expires_at,created_at\r\n";
/// The columns of a file without a head.
const COLUMNS: [&str; 6] = ["address", "reason", "scope", "note", "expires_at", "created_at"];

/// One suppression as a line.
pub fn line(record: &SuppressionRecord) -> String {
    let time = |at: Option<crate::mail::Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
    let fields = [
        record.address.clone(),
        record.reason.to_string(),
        record.scope.to_string(),
        record.note.clone().unwrap_or_default(),
        time(record.expires_at),
        time(Some(record.created_at)),
    ];
    let fields: Vec<_> = fields.iter().map(|field| quoted(field)).collect();
    fields.join(",") + "\r\n"
}

fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\r', '\n']) || field.starts_with(' ') || field.ends_with(' ') {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

/// Reads lines of CSV. The first may be a head, which says in which order the columns come; without one, the address
/// comes first, and nothing else has to be there.
#[derive(Default)]
pub struct CsvReader {
    columns: Option<Vec<String>>,
}

impl CsvReader {
    /// Reads one line; nothing for an empty one and for the head.
    ///
    /// # Errors
    /// What is wrong with it, by column.
    pub fn read(&mut self, line: &str) -> Result<Option<NewSuppression>, Vec<FieldError>> {
        let line = line.trim_start_matches('\u{feff}').trim_end_matches(['\r', '\n']);
        if line.trim().is_empty() {
            return Ok(None);
        }
        let fields = fields(line).ok_or_else(|| vec![fault("", "has a quote that is not closed")])?;
        let Some(columns) = &self.columns else {
            let names: Vec<_> = fields.iter().map(|field| field.trim().to_ascii_lowercase()).collect();
            let is_head = names.iter().any(|name| name == "address");
            self.columns = Some(if is_head { names } else { COLUMNS.map(str::to_owned).to_vec() });
            return if is_head { Ok(None) } else { self.read(line) };
        };
        if fields.len() > columns.len() {
            return Err(vec![fault("", &format!("has more than {} fields", columns.len()))]);
        }
        let given = columns.iter().zip(fields).filter(|(_, field)| !field.trim().is_empty());
        document::read(given.map(|(name, field)| (name.clone(), field.into())).collect()).map(Some)
    }
}

/// The fields of a line; none where a quote is not closed.
fn fields(line: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                field.push('"');
                letters.next();
            }
            '"' if is_quoted => is_quoted = false,
            '"' if field.is_empty() => is_quoted = true,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    fields.push(field);
    (!is_quoted).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{SuppressionReason, SuppressionScope, Timestamp};

    #[test]
    fn a_line_of_csv_reads_back_as_it_was_written() {
        for (address, note) in [
            ("ann@example.net", None),
            ("\"a,b\"@example.net", Some("said \"no\", twice ")),
            ("jörg+x@xn--bcher-kva.example", Some("=1+1")),
        ] {
            let record = SuppressionRecord {
                id: String::new(),
                merchant: "tea".parse().unwrap(),
                address: address.to_owned(),
                reason: SuppressionReason::Complaint,
                scope: SuppressionScope::All,
                note: note.map(str::to_owned),
                expires_at: Some(Timestamp(4_000_000_000_000)),
                created_at: Timestamp(1_700_000_000_123),
            };
            let mut reader = CsvReader::default();
            assert_eq!(reader.read(HEAD).unwrap(), None);
            let read = reader.read(&line(&record)).unwrap().unwrap();
            assert_eq!(read.address.to_string(), address);
            assert_eq!((read.reason, read.scope, read.note), (record.reason, record.scope, record.note));
            assert_eq!((read.expires_at, read.created_at), (record.expires_at, Some(record.created_at)));
        }
    }

    #[test]
    fn a_list_of_addresses_and_columns_in_another_order_are_read_too() {
        let read = |lines: &[&str]| {
            let mut reader = CsvReader::default();
            let read = lines.iter().filter_map(|line| reader.read(line).unwrap());
            read.map(|read| format!("{} {}", read.address, read.reason)).collect::<Vec<_>>()
        };
        assert_eq!(
            read(&["\u{feff}a@example.net", "", "b@example.net,complaint"]),
            ["a@example.net manual", "b@example.net complaint"]
        );
        assert_eq!(read(&["Reason, Address", "unsubscribed,a@example.net"]), ["a@example.net unsubscribed"]);
        let mut reader = CsvReader::default();
        for (line, path) in [
            ("nobody", "address"),
            ("a@example.net,tired", "reason"),
            ("\"a@example.net", ""),
            ("a@example.net,,,,,,", ""),
        ] {
            assert_eq!(reader.read(line).unwrap_err()[0].path, path, "{line}");
        }
    }
}
