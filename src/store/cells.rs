//! Rows as the values of their columns, for statements that SQLite carries out for each row.

use serde::{
    Serialize, Serializer,
    ser::{Error, Impossible, SerializeMap, SerializeStruct},
};

use super::value::Value;

/// The values of a row, as its struct writes them; missing where it has no such field. What is neither text nor a number
/// is JSON.
pub(super) fn cells<T: Serialize>(columns: &[impl AsRef<str>], row: &T) -> Vec<Value> {
    let values = vec![Value::Text(None); columns.len()];
    #[expect(clippy::expect_used, reason = "rows are plain structs: writing them cannot fail")]
    row.serialize(RowCells { columns, values, next: 0 }).expect("rows are writable as cells")
}

/// Writes a struct.
struct RowCells<'c, C> {
    columns: &'c [C],
    values: Vec<Value>,
    /// Where the next field probably is: fields mostly come in the order of the columns.
    next: usize,
}

impl<C: AsRef<str>> RowCells<'_, C> {
    fn place_of(&self, name: &str) -> Option<usize> {
        let is_it = |place: &usize| self.columns[*place].as_ref() == name;
        (self.next..self.columns.len()).chain(0..self.next).find(is_it)
    }

    fn put<T: Serialize + ?Sized>(&mut self, place: Option<usize>, value: &T) -> Result<(), CellError> {
        let Some(place) = place else { return Ok(()) };
        self.values[place] = match value.serialize(Cell) {
            Ok(value) => value,
            Err(CellError::Compound) => {
                Value::Text(Some(serde_json::to_string(value).map_err(CellError::custom)?))
            }
            Err(error) => return Err(error),
        };
        self.next = place + 1;
        Ok(())
    }
}

impl<C: AsRef<str>> SerializeStruct for RowCells<'_, C> {
    type Ok = Vec<Value>;
    type Error = CellError;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), CellError> {
        self.put(self.place_of(name), value)
    }

    fn end(self) -> Result<Vec<Value>, CellError> {
        Ok(self.values)
    }
}

/// A struct with a flattened one in it is written as a map.
impl<C: AsRef<str>> SerializeMap for RowCells<'_, C> {
    type Ok = Vec<Value>;
    type Error = CellError;

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        name: &K,
        value: &V,
    ) -> Result<(), CellError> {
        let Value::Text(Some(name)) = name.serialize(Cell)? else { return Err(CellError::Compound) };
        self.put(self.place_of(&name), value)
    }

    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), CellError> {
        Err(CellError::Compound)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), CellError> {
        Err(CellError::Compound)
    }

    fn end(self) -> Result<Vec<Value>, CellError> {
        Ok(self.values)
    }
}

/// Why something is not a cell.
#[derive(Debug, thiserror::Error)]
enum CellError {
    /// It has parts.
    #[error("it has parts")]
    Compound,
    #[error("{0}")]
    Other(String),
}

impl Error for CellError {
    fn custom<T: std::fmt::Display>(words: T) -> Self {
        Self::Other(words.to_string())
    }
}

/// Writes one value.
struct Cell;

/// Numbers of these kinds are integers of the database, as far as they fit.
macro_rules! integers {
    ($($name:ident: $kind:ty),*) => {
        $(fn $name(self, number: $kind) -> Result<Value, CellError> {
            i64::try_from(number).map(Value::from).map_err(CellError::custom)
        })*
    };
}

/// Things of these kinds are not written so: they have parts, or are none. The first list is for rows and cells alike.
macro_rules! refused {
    (@each $($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        $(fn $name(self, $(_: $argument),*) -> Result<$result, CellError> { Err(CellError::Compound) })*
    };
    ($ok:ty; $($name:ident($($argument:ty),*) -> $result:ty;)*) => {
        refused! { @each
            serialize_f32(f32) -> $ok;
            serialize_f64(f64) -> $ok;
            serialize_bytes(&[u8]) -> $ok;
            serialize_unit_struct(&'static str) -> $ok;
            serialize_seq(Option<usize>) -> NoParts<$ok>;
            serialize_tuple(usize) -> NoParts<$ok>;
            serialize_tuple_struct(&'static str, usize) -> NoParts<$ok>;
            serialize_tuple_variant(&'static str, u32, &'static str, usize) -> NoParts<$ok>;
            serialize_struct_variant(&'static str, u32, &'static str, usize) -> NoParts<$ok>;
            $($name($($argument),*) -> $result;)*
        }

        fn serialize_newtype_variant<T: Serialize + ?Sized>(
            self,
            _: &'static str,
            _: u32,
            _: &'static str,
            _: &T,
        ) -> Result<$ok, CellError> {
            Err(CellError::Compound)
        }
    };
}

type NoParts<T> = Impossible<T, CellError>;

impl Serializer for Cell {
    type Ok = Value;
    type Error = CellError;
    type SerializeSeq = NoParts<Value>;
    type SerializeTuple = NoParts<Value>;
    type SerializeTupleStruct = NoParts<Value>;
    type SerializeTupleVariant = NoParts<Value>;
    type SerializeMap = NoParts<Value>;
    type SerializeStruct = NoParts<Value>;
    type SerializeStructVariant = NoParts<Value>;

    integers! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64
    }

    fn serialize_str(self, text: &str) -> Result<Value, CellError> {
        Ok(text.into())
    }

    fn serialize_char(self, character: char) -> Result<Value, CellError> {
        Ok(character.to_string().into())
    }

    fn serialize_none(self) -> Result<Value, CellError> {
        Ok(Value::Text(None))
    }

    fn serialize_unit(self) -> Result<Value, CellError> {
        self.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, CellError> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Value, CellError> {
        value.serialize(self)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Value, CellError> {
        Ok(variant.into())
    }

    refused! {
        Value;
        serialize_map(Option<usize>) -> NoParts<Value>;
        serialize_struct(&'static str, usize) -> NoParts<Value>;
    }
}

type Row = Vec<Value>;

/// Nothing but a struct is a row.
impl<C: AsRef<str>> Serializer for RowCells<'_, C> {
    type Ok = Row;
    type Error = CellError;
    type SerializeSeq = NoParts<Row>;
    type SerializeTuple = NoParts<Row>;
    type SerializeTupleStruct = NoParts<Row>;
    type SerializeTupleVariant = NoParts<Row>;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = NoParts<Row>;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, CellError> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, CellError> {
        Ok(self)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, row: &T) -> Result<Row, CellError> {
        row.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        row: &T,
    ) -> Result<Row, CellError> {
        row.serialize(self)
    }

    refused! {
        Row;
        serialize_bool(bool) -> Row;
        serialize_i8(i8) -> Row;
        serialize_i16(i16) -> Row;
        serialize_i32(i32) -> Row;
        serialize_i64(i64) -> Row;
        serialize_u8(u8) -> Row;
        serialize_u16(u16) -> Row;
        serialize_u32(u32) -> Row;
        serialize_u64(u64) -> Row;
        serialize_char(char) -> Row;
        serialize_str(&str) -> Row;
        serialize_none() -> Row;
        serialize_unit() -> Row;
        serialize_unit_variant(&'static str, u32, &'static str) -> Row;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::store::{
        dialect::Dialect,
        sql::{Sql, to_json},
    };

    #[derive(Serialize)]
    struct Inner<'a> {
        text: &'a str,
        none: Option<&'a str>,
        some: Option<i64>,
    }

    #[derive(Serialize)]
    struct Row<'a> {
        #[serde(flatten)]
        inner: Inner<'a>,
        json: &'a RawValue,
        list: Vec<u8>,
        is_so: bool,
        number: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<i64>,
        id: crate::mail::MailId,
    }

    const COLUMNS: [&str; 10] =
        ["number", "text", "none", "some", "json", "list", "is_so", "left_out", "nowhere", "id"];

    fn row(id: crate::mail::MailId, json: &RawValue) -> Row<'_> {
        Row {
            inner: Inner { text: "a\"é\n", none: None, some: Some(-7) },
            json,
            list: vec![1, 2],
            is_so: true,
            number: 9,
            left_out: None,
            id,
        }
    }

    #[test]
    fn a_row_is_the_values_of_its_columns() {
        let (id, json) = (crate::mail::MailId::new(), r#"{"b": 1.10, "a":[]}"#.to_owned());
        let json = RawValue::from_string(json).unwrap();
        let text = |text: &str| Value::from(text);
        let expected = [
            9.into(),
            text("a\"é\n"),
            Value::Text(None),
            Value::from(-7),
            text(r#"{"b": 1.10, "a":[]}"#),
            text("[1,2]"),
            1.into(),
            Value::Text(None),
            Value::Text(None),
            text(&id.to_string()),
        ];
        assert_eq!(cells(&COLUMNS, &row(id, &json)), expected);
    }

    /// What is bound cell by cell is what would be unfolded out of JSON.
    #[test]
    fn cells_are_what_sqlite_unfolds_from_json() {
        let json = RawValue::from_string(r#"{"b":1.10,"a":["é"]}"#.to_owned()).unwrap();
        let rows = [row(crate::mail::MailId::new(), &json)];
        let kinds = "number bigint, text text, none text, some bigint, json text, list text, is_so bigint,
            left_out bigint, nowhere text, id text";
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let read = |statement: String, values: Vec<Value>| {
            let mut prepared = database.prepare(&statement).unwrap();
            for (place, value) in (1..).zip(values) {
                match value {
                    Value::Integer(number) => prepared.raw_bind_parameter(place, number).unwrap(),
                    Value::Text(text) => prepared.raw_bind_parameter(place, text).unwrap(),
                }
            }
            let mut rows = prepared.raw_query();
            let row = rows.next().unwrap().unwrap();
            let cells =
                (0..COLUMNS.len()).map(|column| row.get::<_, rusqlite::types::Value>(column).unwrap());
            cells.collect::<Vec<_>>()
        };
        let written = |mark: &str| {
            let columns = COLUMNS.map(|name| format!("rows.{name}")).join(", ");
            let sql = Sql::made(format!("SELECT {columns} FROM {{{mark}: {kinds}}}"));
            sql.on(Dialect::Sqlite).0.to_string()
        };
        let unfolded = read(written("rows"), vec![to_json(Dialect::Sqlite, &COLUMNS, &rows).into()]);
        assert_eq!(read(written("each"), cells(&COLUMNS, &rows[0])), unfolded);
    }
}
