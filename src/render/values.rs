//! What fills a template.

use std::sync::Arc;

use handlebars::Context;
use serde_json::{Map, Value};

/// The values that fill a mail. Read once, then shared: a clone is another handle.
#[derive(Clone, Debug)]
pub struct Values(Arc<Context>);

impl Values {
    /// The values by tag.
    pub fn as_json(&self) -> &Value {
        self.0.data()
    }

    pub(super) fn context(&self) -> &Context {
        &self.0
    }
}

impl From<Value> for Values {
    fn from(values: Value) -> Self {
        Self(Arc::new(Context::from(values)))
    }
}

impl From<Map<String, Value>> for Values {
    fn from(values: Map<String, Value>) -> Self {
        Value::Object(values).into()
    }
}
