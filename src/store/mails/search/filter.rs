//! The terms of a query as a `WHERE` that no index answers: what drives is chosen here, not by the database's guess.

use std::{collections::HashMap, sync::Arc};

use sqlx::AssertSqlSafe;

use crate::{
    mail::{
        MerchantId,
        search::{Condition, Term},
    },
    store::{
        dialect::Dialect,
        sql::to_json,
        statement::{self, query},
    },
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
    pub(super) fn of_listed(dialect: Dialect, ids: &[String]) -> Self {
        let rows: Vec<_> = ids.iter().map(|id| Listed { id }).collect();
        Self { text: String::new(), values: vec![to_json(dialect, &["id"], &rows)] }
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

    pub(super) fn query(&self, dialect: Dialect) -> statement::Statement {
        let text: Arc<str> = dialect.written(&self.text).into();
        self.values.iter().fold(query(AssertSqlSafe(text)), |statement, value| statement.bind(value))
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

    /// Whether words are asked for that no subject has.
    pub(super) fn fits_nothing(&self) -> bool {
        let is_nowhere = |condition: &Condition| matches!(condition, Condition::Subject(words) if self.versions.get(words).is_none_or(Vec::is_empty));
        self.terms.iter().any(|term| !term.is_negated && term.any_of.iter().all(is_nowhere))
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

    /// The columns that it asks for, with the id.
    pub(super) fn columns(&self) -> String {
        let asked = self.terms.iter().flat_map(|term| &term.any_of).map(column_of);
        let columns: std::collections::BTreeSet<_> = asked.chain(["id", "merchant_id"]).collect();
        columns.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// Never NULL, so that it can be negated; and never the bare column, so that no index is tempted.
    fn condition(&self, condition: &Condition, statement: &mut Statement) -> String {
        if let Condition::Tag(tag) = condition {
            let mark = statement.bind(tag);
            return format!(
                "EXISTS (SELECT 1 FROM mail_tags AS called WHERE called.mail_id = mails.id AND called.tag = {mark})"
            );
        }
        let column = column_of(condition);
        let mut is = |value: &str| format!("COALESCE(mails.{column}, '') = {}", statement.bind(value));
        match condition {
            Condition::Order(value)
            | Condition::Cart(value)
            | Condition::Subscription(value)
            | Condition::Member(value)
            | Condition::ProviderId(value)
            | Condition::Route(value)
            | Condition::Template(value)
            | Condition::Recipient(value) => is(value),
            Condition::Class(class) => is(class.as_str()),
            Condition::State(state) => is(state.as_str()),
            Condition::Lane(lane) => is(lane.as_str()),
            Condition::Merchant(id) => is(id.as_str()),
            Condition::Batch(id) => is(&id.to_string()),
            Condition::Id(id) => is(&id.to_string()),
            // Above.
            Condition::Tag(_) => "1 = 0".to_owned(),
            Condition::Test(is_test) => format!("mails.{column} = {}", u8::from(*is_test)),
            Condition::Domain(domain) => {
                let mark = statement.bind(&format!("{domain}@"));
                format!("substr(mails.{column}, 1, length({mark})) = {mark}")
            }
            Condition::Subject(words) => {
                let versions = self.versions.get(words).map(Vec::as_slice).unwrap_or_default();
                if versions.is_empty() {
                    return "1 = 0".to_owned();
                }
                let marks: Vec<_> = versions.iter().map(|version| statement.bind(version)).collect();
                format!("mails.{column} IN ({})", marks.join(", "))
            }
        }
    }
}

const fn column_of(condition: &Condition) -> &'static str {
    match condition {
        Condition::Order(_) => "order_id",
        Condition::Cart(_) => "cart_id",
        Condition::Subscription(_) => "subscription_id",
        Condition::Member(_) => "member_id",
        Condition::ProviderId(_) => "provider_id",
        Condition::Route(_) => "route",
        Condition::Class(_) => "class",
        Condition::Batch(_) => "batch_id",
        Condition::Template(_) => "template",
        Condition::State(_) => "state",
        Condition::Lane(_) => "lane",
        Condition::Recipient(_) | Condition::Domain(_) => "recipient_key",
        Condition::Merchant(_) => "merchant_id",
        Condition::Id(_) | Condition::Tag(_) => "id",
        Condition::Subject(_) => "template_version",
        Condition::Test(_) => "test",
    }
}
