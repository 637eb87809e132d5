//! What a query is made of: terms, and the conditions that they may ask for.

use serde::Serialize;

use crate::mail::{
    Address, BatchId, Lane, MailId, MailState, MerchantId, ReplyClass, Timestamp, state::closed_set,
};

/// The most bytes of a query.
pub const MOST_BYTES: usize = 1_000;
/// The most terms of a query.
pub const MOST_TERMS: usize = 20;

closed_set! {
    /// What stands before the colon of a term.
    Key {
        /// The order that a mail is about.
        Order = "order",
        /// The cart.
        Cart = "cart",
        /// The subscription.
        Subscription = "subscription",
        /// The member that it is for.
        Member = "member",
        /// Its recipient: an address, or `@` and a domain.
        To = "to",
        /// Where it is on its way.
        State = "state",
        /// What the last reply meant.
        Class = "class",
        /// The last route.
        Route = "route",
        /// The name of its template.
        Template = "template",
        /// Its lane.
        Lane = "lane",
        /// Whose mail it is.
        Merchant = "merchant",
        /// The batch that it belongs to.
        Batch = "batch",
        /// Whether it is only tried out: `true` or `false`.
        Test = "test",
        /// What its merchant called it.
        Tag = "tag",
        /// Its id.
        Id = "id",
        /// The id that a relay gave it.
        ProviderId = "provider_id",
        /// Its `Message-ID`.
        MessageId = "message_id",
        /// Recorded at this time or later.
        Since = "since",
        /// Recorded before this time.
        Until = "until",
    }
}

/// One thing that may be true of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is about this order.
    Order(String),
    /// It is about this cart.
    Cart(String),
    /// It is about this subscription.
    Subscription(String),
    /// It is for this member.
    Member(String),
    /// It is to this address, as [`Address::search_key`] writes it.
    Recipient(String),
    /// It is to an address at this domain, in lower case and as A-labels.
    Domain(String),
    /// It is in this state.
    State(MailState),
    /// Its last reply was of this class.
    Class(ReplyClass),
    /// This was its last route.
    Route(String),
    /// Its template has this name.
    Template(String),
    /// It is in this lane.
    Lane(Lane),
    /// It is this merchant's.
    Merchant(MerchantId),
    /// It is of this batch.
    Batch(BatchId),
    /// Its merchant called it this, or gave it this `key=value`.
    Tag(String),
    /// It has this id.
    Id(MailId),
    /// A relay gave it this id.
    ProviderId(String),
    /// The subject of its template has these words.
    Subject(String),
    /// It is only tried out, or it is not.
    Test(bool),
}

/// One term of a query: a mail fits when one of the conditions is true of it, or none where the term is negated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Whether there was a `-` before it.
    pub is_negated: bool,
    /// More than one for a bare word.
    pub any_of: Vec<Condition>,
}

/// What a mail has to be like: every term fits, and it was recorded within the times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// The terms but for the times.
    pub terms: Vec<Term>,
    /// Recorded at this time or later.
    pub since: Option<Timestamp>,
    /// Recorded before this time.
    pub until: Option<Timestamp>,
}

/// Why a text is not a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at character {at} of the query")]
pub struct QueryError {
    /// Where, in characters from 1.
    pub at: usize,
    /// What is wrong there, and what is allowed.
    pub message: String,
}

impl Query {
    /// A condition more.
    #[must_use]
    pub fn and(self, condition: Condition) -> Self {
        self.and_any_of(vec![condition])
    }

    /// A term more, of which one condition has to be true.
    #[must_use]
    pub fn and_any_of(mut self, any_of: Vec<Condition>) -> Self {
        self.terms.push(Term { is_negated: false, any_of });
        self
    }

    /// The merchants that are named, wanted or not.
    pub fn merchants(&self) -> impl Iterator<Item = &MerchantId> {
        self.terms.iter().flat_map(|term| &term.any_of).filter_map(|condition| match condition {
            Condition::Merchant(id) => Some(id),
            _ => None,
        })
    }
}

impl Condition {
    /// To this address, in any case and with its domain in either form. What is no address is the recipient of no mail.
    pub fn recipient(text: &str) -> Self {
        let key =
            text.parse::<Address>().map_or_else(|_| text.to_lowercase(), |address| address.search_key());
        Self::Recipient(key)
    }
}

impl Key {
    /// A term with this key and whatever value, so that a flag means what its term means.
    pub fn spell(self, value: &str) -> String {
        format!("{self}:\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

/// How many mails fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct MailCount {
    /// So many at least.
    pub count: u64,
    /// Whether there may be more; else it is exact.
    pub more: bool,
}
