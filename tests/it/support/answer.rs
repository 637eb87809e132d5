//! What the daemon answered.

use serde_json::Value;

/// An HTTP answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    pub(super) async fn of(response: reqwest::Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.unwrap(),
        }
    }

    /// Fails the test unless the answer has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// A header, where it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The faulty fields of a 422, by their paths, in either of the shapes that name them.
    #[track_caller]
    pub fn faulty_fields(&self) -> Vec<String> {
        match &self.json()["errors"] {
            Value::Object(by_path) => {
                let mut fields: Vec<_> = by_path.keys().cloned().collect();
                fields.sort();
                fields
            }
            Value::Array(errors) => {
                errors.iter().map(|error| error["path"].as_str().unwrap().to_owned()).collect()
            }
            _ => panic!("no field is named: {self:?}"),
        }
    }
}
