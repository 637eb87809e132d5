//! Which index leads to the mails that a condition is true of.
//!
//! A [`Range`] of an index is in the order of the answer. It is written as a comparison of rows, `(order_id, merchant_id,
//! id) < (…)`, ordered by the same columns: no other index has that order, so that no database reads along the primary
//! key in the hope of meeting enough mails that fit. A [`Listing`] is in another order; it is read whole, or not used.

use super::filter::Statement;
use crate::mail::{MailId, MailState, MerchantId, ReplyClass, search::Condition};

/// What leads to the mails that a condition is true of.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Id(MailId),
    Range(Range),
    Listing(Listing),
}

/// Entries of an index that begins with these columns and goes on with the id.
#[derive(Clone, Debug)]
pub(super) struct Range {
    index: &'static str,
    keys: Vec<(&'static str, String)>,
    /// The condition of a partial index.
    predicate: Option<&'static str>,
    /// Whether each entry fits.
    is_exact: bool,
}

/// Entries of an index between two values of its first column.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    column: &'static str,
    from: String,
    /// `None`: to the end. What sorts last in every collation cannot be written.
    to: Option<String>,
    /// The rest of the index.
    then: &'static str,
    predicate: Option<&'static str>,
    /// Only this merchant's, where the index says whose a mail is.
    merchant: Option<MerchantId>,
    /// Whether each entry fits, if all merchants' do or those of others are left out.
    is_exact: bool,
}

impl Source {
    /// `None`: no index leads there.
    pub(super) fn of(condition: &Condition, merchant: Option<&MerchantId>) -> Option<Self> {
        let partly =
            |column, predicate, value: &str| Some(Self::keyed(column, Some(predicate), value, merchant));
        match condition {
            Condition::Id(id) => Some(Self::Id(*id)),
            Condition::Order(value) => partly("order_id", "order_id IS NOT NULL", value),
            Condition::Cart(value) => partly("cart_id", "cart_id IS NOT NULL", value),
            Condition::Subscription(value) => partly("subscription_id", "subscription_id IS NOT NULL", value),
            Condition::ProviderId(value) => partly("provider_id", "provider_id IS NOT NULL", value),
            Condition::Recipient(key) => Some(Self::keyed("recipient_key", None, key, merchant)),
            Condition::Member(value) => Some(Self::Listing(Listing {
                column: "member_id",
                from: value.clone(),
                to: Some(value.clone()),
                then: "batch_id",
                predicate: Some("member_id IS NOT NULL"),
                merchant: None,
                is_exact: true,
            })),
            Condition::Domain(domain) => Some(Self::Listing(Listing {
                column: "recipient_key",
                from: format!("{domain}@"),
                to: Some(format!("{domain}@{}", char::MAX)),
                then: "merchant_id, id",
                predicate: None,
                merchant: merchant.cloned(),
                is_exact: true,
            })),
            Condition::Batch(id) => Some(Self::Range(Range {
                index: "mails_by_batch",
                keys: vec![("batch_id", id.to_string())],
                predicate: Some("batch_id IS NOT NULL"),
                is_exact: true,
            })),
            Condition::Tag(tag) => {
                let mut keys = vec![("tag", tag.clone())];
                keys.extend(merchant.map(|id| ("tag_merchant", id.as_str().to_owned())));
                let index = if merchant.is_some() { "" } else { "mail_tags_of_all" };
                let predicate = Some("mails.id = mail_id");
                Some(Self::Range(Range { index, keys, predicate, is_exact: true }))
            }
            Condition::State(state) => Some(Self::of_state(*state, merchant)),
            Condition::Class(ReplyClass::Accepted) => None,
            Condition::Class(class) => {
                let mut keys = vec![("class", class.as_str().to_owned())];
                keys.extend(merchant.map(|id| ("merchant_id", id.as_str().to_owned())));
                let index = if merchant.is_some() { "mails_by_class" } else { "mails_by_class_of_all" };
                let predicate = Some("class <> 'accepted'");
                Some(Self::Range(Range { index, keys, predicate, is_exact: true }))
            }
            Condition::Route(_)
            | Condition::Template(_)
            | Condition::Lane(_)
            | Condition::Merchant(_)
            | Condition::Test(_)
            | Condition::Subject(_) => None,
        }
    }

    fn keyed(
        column: &'static str,
        predicate: Option<&'static str>,
        value: &str,
        merchant: Option<&MerchantId>,
    ) -> Self {
        match merchant {
            Some(merchant) => Self::Range(Range {
                index: index_on(column),
                keys: vec![(column, value.to_owned()), ("merchant_id", merchant.as_str().to_owned())],
                predicate,
                is_exact: true,
            }),
            None => Self::Listing(Listing {
                column,
                from: value.to_owned(),
                to: Some(value.to_owned()),
                then: "merchant_id, id",
                predicate,
                merchant: None,
                is_exact: true,
            }),
        }
    }

    fn of_state(state: MailState, merchant: Option<&MerchantId>) -> Self {
        let is_under_way = matches!(state, MailState::Queued | MailState::Sending);
        match (is_under_way, merchant) {
            // A claim touches no index: what waits is found among all that is under way.
            (true, Some(merchant)) => Self::Range(Range {
                index: "mails_under_way",
                keys: vec![("merchant_id", merchant.as_str().to_owned())],
                predicate: Some("wake_at IS NOT NULL"),
                is_exact: false,
            }),
            (true, None) => Self::Listing(Listing {
                column: "merchant_id",
                from: String::new(),
                to: None,
                then: "id",
                predicate: Some("wake_at IS NOT NULL"),
                merchant: None,
                is_exact: false,
            }),
            (false, None) if !matches!(state, MailState::Sent | MailState::Deferred) => Self::Range(Range {
                index: "mails_failing",
                keys: vec![("state_after", state.as_str().to_owned())],
                predicate: Some("state_after <> 'sent' AND state_after <> 'deferred'"),
                is_exact: true,
            }),
            (false, _) => {
                Self::keyed("state_after", Some("state_after IS NOT NULL"), state.as_str(), merchant)
            }
        }
    }

    /// How many mails a condition tends to be true of: the fewest first.
    pub(super) const fn rank(condition: &Condition) -> u8 {
        match condition {
            Condition::Id(_) => 0,
            Condition::ProviderId(_) => 1,
            Condition::Order(_) | Condition::Cart(_) | Condition::Subscription(_) => 2,
            Condition::Member(_) | Condition::Recipient(_) => 3,
            Condition::Class(_) => 4,
            Condition::State(_) => 5,
            Condition::Batch(_) | Condition::Tag(_) => 6,
            Condition::Domain(_) => 7,
            Condition::Route(_)
            | Condition::Template(_)
            | Condition::Lane(_)
            | Condition::Merchant(_)
            | Condition::Test(_)
            | Condition::Subject(_) => 8,
        }
    }

    /// The batch whose mails it leads to.
    pub(super) fn batch(&self) -> Option<&str> {
        let Self::Range(range) = self else { return None };
        range.keys.iter().find(|(column, _)| *column == "batch_id").map(|(_, id)| id.as_str())
    }

    /// Whether each mail that it leads to fits its condition and is the merchant's, where one is asked for.
    pub(super) fn is_exact(&self, for_a_merchant: bool) -> bool {
        match self {
            Self::Id(_) => true,
            Self::Range(range) => {
                let names_merchant =
                    range.keys.iter().any(|(column, _)| ["merchant_id", "tag_merchant"].contains(column));
                range.is_exact && (names_merchant || !for_a_merchant)
            }
            Self::Listing(listing) => listing.is_exact && (listing.merchant.is_some() || !for_a_merchant),
        }
    }
}

impl Range {
    /// All mails, by time.
    pub(super) fn timeline(merchant: Option<&MerchantId>) -> Self {
        let keys: Vec<_> = merchant.map(|id| ("merchant_id", id.as_str().to_owned())).into_iter().collect();
        let index = if keys.is_empty() { "" } else { "mails_by_merchant" };
        Self { index, keys, predicate: None, is_exact: true }
    }

    /// `mails`, or their tags with them, to be read by this index. The primary key's has no name.
    pub(super) fn table(&self) -> String {
        let table = if self.is_of_tags() { "mail_tags" } else { "mails" };
        let by = if self.index.is_empty() { String::new() } else { format!(" {{index: {}}}", self.index) };
        // SQLite reads the tables of a cross join in this order.
        let mails = if self.is_of_tags() { " CROSS JOIN mails" } else { "" };
        format!("{table}{by}{mails}")
    }

    /// Whether the index is on the tags of mails, which lead to the mails.
    fn is_of_tags(&self) -> bool {
        self.keys.iter().any(|(column, _)| *column == "tag")
    }

    /// The column that ends the index.
    fn id(&self) -> &'static str {
        if self.is_of_tags() { "mail_id" } else { "mails.id" }
    }

    pub(super) fn is_timeline(&self) -> bool {
        self.predicate.is_none() && self.keys.iter().all(|(column, _)| *column == "merchant_id")
    }

    /// `WHERE` of the entries between the bounds, exclusive.
    pub(super) fn write(&self, statement: &mut Statement, (low, high): &(String, String)) {
        let columns: Vec<_> = self.keys.iter().map(|(column, _)| *column).chain([self.id()]).collect();
        let keys: Vec<_> = self.keys.iter().map(|(_, value)| statement.bind(value)).collect();
        for (comparison, bound) in [("<", high), (">", low)] {
            let bound = statement.bind(bound);
            let values: Vec<_> = keys.iter().cloned().chain([bound]).collect();
            let and = if comparison == "<" { "" } else { " AND " };
            let (columns, values) = (columns.join(", "), values.join(", "));
            statement.push(&format!("{and}({columns}) {comparison} ({values})"));
        }
        if let Some(predicate) = self.predicate {
            statement.push(&format!(" AND {predicate}"));
        }
    }

    pub(super) fn order(&self, oldest_first: bool) -> String {
        let direction = if oldest_first { "ASC" } else { "DESC" };
        let columns = self.keys.iter().map(|(column, _)| *column).chain([self.id()]);
        let ordered: Vec<_> = columns.map(|column| format!("{column} {direction}")).collect();
        format!(" ORDER BY {}", ordered.join(", "))
    }

    /// The first entry after this many.
    pub(super) fn window(&self, bounds: &(String, String), oldest_first: bool, entries: i64) -> Statement {
        let mut statement = Statement::default();
        statement.push(&format!("SELECT id FROM {} WHERE ", self.table()));
        self.write(&mut statement, bounds);
        statement.push(&self.order(oldest_first));
        statement.push(&format!(" LIMIT 1 OFFSET {entries}"));
        statement
    }

    /// The ids of the first entries, as a table.
    pub(super) fn first(
        &self,
        statement: &mut Statement,
        bounds: &(String, String),
        oldest_first: bool,
        most: i64,
    ) {
        statement.push(&format!("(SELECT id FROM {} WHERE ", self.table()));
        self.write(statement, bounds);
        statement.push(&self.order(oldest_first));
        statement.limit(most);
        statement.push(") AS entries");
    }

    /// The ids of the first entries, joined by commas.
    pub(super) fn entries(&self, bounds: &(String, String), oldest_first: bool, most: i64) -> Statement {
        let mut statement = Statement::default();
        statement.push("SELECT string_agg(id, ',') AS ids FROM ");
        self.first(&mut statement, bounds, oldest_first, most);
        statement
    }
}

impl Listing {
    /// The ids of its first entries, joined by commas.
    pub(super) fn statement(&self, most: i64) -> Statement {
        let Self { column, then, .. } = self;
        let mut statement = Statement::default();
        let from = statement.bind(&self.from);
        statement.push(&format!(
            "SELECT string_agg(id, ',') AS ids FROM (SELECT id FROM mails WHERE {column} >= {from}"
        ));
        if let Some(to) = &self.to {
            let to = statement.bind(to);
            statement.push(&format!(" AND {column} <= {to}"));
        }
        if let Some(predicate) = self.predicate {
            statement.push(&format!(" AND {predicate}"));
        }
        if let Some(merchant) = &self.merchant {
            let merchant = statement.bind(merchant.as_str());
            // Never the bare column: an index that goes on with it would give another order.
            statement.push(&format!(" AND merchant_id || '' = {merchant}"));
        }
        statement.push(&format!(" ORDER BY {column}, {then}"));
        statement.limit(most);
        statement.push(") AS entries");
        statement
    }
}

/// The index on a column, the merchant and the id.
fn index_on(column: &str) -> &'static str {
    match column {
        "order_id" => "mails_by_order",
        "cart_id" => "mails_by_cart",
        "subscription_id" => "mails_by_subscription",
        "provider_id" => "mails_by_provider_id",
        "recipient_key" => "mails_by_recipient",
        _ => "mails_by_state",
    }
}
