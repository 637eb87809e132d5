//! The terms of a query as a `WHERE` that no index answers: what drives is chosen here, not by the database's guess.

use std::{collections::HashMap, sync::Arc};

use sqlx::AssertSqlSafe;

use crate::{
    mail::{
        MerchantId,
        search::{Condition, Term},
    },
    store::{dialect::Dialect, row::to_json},
};

/// What a mail has to be like.
pub(super) struct Filter {
    terms: Vec<Term>,
    merchant: Option<MerchantId>,
    /// The versions of templates whose subjects have the words.
    versions: HashMap<String, Vec<String>>,
}

/// A statement as it is being written, and its values from `$1` on.
#[derive(Default)]
pub(super) struct Statement {
    text: String,
    values: Vec<String>,
}

#[derive(serde::Serialize)]
struct Listed<'a> {
    id: &'a str,
}

impl Statement {
    /// One whose `{rows: id text}` are these.
    pub(super) fn of_listed(ids: &[String]) -> Self {
        let rows: Vec<_> = ids.iter().map(|id| Listed { id }).collect();
        Self { text: String::new(), values: vec![to_json(&rows)] }
    }

    pub(super) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The mark of a value.
    pub(super) fn bind(&mut self, value: &str) -> String {
        self.values.push(value.to_owned());
        format!("${}", self.values.len())
    }

    pub(super) fn limit(&mut self, most: i64) {
        self.push(&format!(" LIMIT {most}"));
    }

    pub(super) fn before(mut self, word: &str) -> Self {
        self.text = format!("{word} {}", self.text);
        self
    }

    pub(super) fn query(
        &self,
        dialect: Dialect,
    ) -> sqlx::query::Query<'static, sqlx::Any, sqlx::any::AnyArguments> {
        let text: Arc<str> = dialect.written(&self.text).into();
        self.values.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, value| query.bind(value.clone()))
    }
}

impl Filter {
    pub(super) fn new(terms: Vec<Term>, merchant: Option<MerchantId>) -> Self {
        Self { terms, merchant, versions: HashMap::new() }
    }

    pub(super) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The words that are looked for in subjects.
    pub(super) fn subjects(&self) -> Vec<String> {
        let conditions = self.terms.iter().flat_map(|term| &term.any_of);
        conditions
            .filter_map(
                |condition| {
                    if let Condition::Subject(words) = condition { Some(words.clone()) } else { None }
                },
            )
            .collect()
    }

    /// These versions have the words.
    pub(super) fn resolve(&mut self, words: String, versions: Vec<String>) {
        self.versions.insert(words, versions);
    }

    pub(super) fn write(&self, statement: &mut Statement) {
        // Whatever drives, nobody sees another merchant's mails.
        let mut parts = Vec::with_capacity(self.terms.len() + 1);
        if let Some(merchant) = &self.merchant {
            let mark = statement.bind(merchant.as_str());
            parts.push(format!("mails.merchant_id || '' = {mark}"));
        }
        for term in &self.terms {
            let any: Vec<_> =
                term.any_of.iter().map(|condition| self.condition(condition, statement)).collect();
            let not = if term.is_negated { "NOT " } else { "" };
            parts.push(format!("{not}({})", any.join(" OR ")));
        }
        if parts.is_empty() {
            parts.push("1 = 1".to_owned());
        }
        statement.push(&parts.join(" AND "));
    }

    /// Never NULL, so that it can be negated; and never the bare column, so that no index is tempted.
    fn condition(&self, condition: &Condition, statement: &mut Statement) -> String {
        let mut is =
            |column: &str, value: &str| format!("COALESCE(mails.{column}, '') = {}", statement.bind(value));
        match condition {
            Condition::Order(value) => is("order_id", value),
            Condition::Cart(value) => is("cart_id", value),
            Condition::Subscription(value) => is("subscription_id", value),
            Condition::Member(value) => is("member_id", value),
            Condition::ProviderId(value) => is("provider_id", value),
            Condition::Route(value) => is("route", value),
            Condition::Class(class) => is("class", class.as_str()),
            Condition::Batch(id) => is("batch_id", &id.to_string()),
            Condition::Template(value) => is("template", value),
            Condition::State(state) => is("state", state.as_str()),
            Condition::Lane(lane) => is("lane", lane.as_str()),
            Condition::Recipient(key) => is("recipient_key", key),
            Condition::Merchant(id) => is("merchant_id", id.as_str()),
            Condition::Id(id) => is("id", &id.to_string()),
            Condition::Domain(domain) => {
                let mark = statement.bind(&format!("{domain}@"));
                format!("substr(mails.recipient_key, 1, length({mark})) = {mark}")
            }
            Condition::Subject(words) => {
                let versions = self.versions.get(words).map(Vec::as_slice).unwrap_or_default();
                if versions.is_empty() {
                    return "1 = 0".to_owned();
                }
                let marks: Vec<_> = versions.iter().map(|version| statement.bind(version)).collect();
                format!("mails.template_version IN ({})", marks.join(", "))
            }
        }
    }
}
