//! Events: recorded in the transaction that causes them, for the endpoints that listen, together with one delivery for
//! each of those.
//!
//! Where nobody listens it costs one look into an index for a whole group of mails. The deliveries are due at once; the
//! scheduler enqueues them after the commit, so nobody who settles mails has to wait for the queue.

use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{
    connection::Connection,
    dialect::Dialect,
    error::{Doing, StoreError},
    row::{self, Columns},
    sql::Sql,
};
use crate::{
    clock,
    mail::{DeliveryId, EndpointId, EventId, Extras, MailId, MailState, MerchantId},
    webhook::{
        EventKind, Topics,
        event::{self, MailSubject},
    },
};

/// Something that happened.
#[derive(Debug)]
pub(in crate::store) struct NewEvent {
    /// Whom to tell.
    pub(in crate::store) merchant: MerchantId,
    /// What happened.
    pub(in crate::store) kind: EventKind,
    /// The whole body, as [`event::body`] writes it.
    pub(in crate::store) body: String,
    /// The mail that it is about, where it is about one.
    pub(in crate::store) mail: Option<MailId>,
    /// The trace of the request that it came of.
    pub(in crate::store) trace_parent: Option<String>,
}

/// A mail that has just come into a state, and what the relay said.
#[derive(Debug)]
pub(in crate::store) struct MovedMail {
    pub(in crate::store) id: MailId,
    pub(in crate::store) merchant: MerchantId,
    pub(in crate::store) state: MailState,
    pub(in crate::store) code: Option<u16>,
    pub(in crate::store) enhanced_code: Option<String>,
    pub(in crate::store) reply: Option<String>,
    pub(in crate::store) class: Option<&'static str>,
}

impl MovedMail {
    /// One that moved although no relay said anything.
    pub(in crate::store) fn without_reply(id: MailId, merchant: MerchantId, state: MailState) -> Self {
        Self { id, merchant, state, code: None, enhanced_code: None, reply: None, class: None }
    }
}

/// Records what mails that have just moved are events of; returns how many deliveries wait because of them. To be called
/// after their rows are written.
pub(in crate::store) async fn record_for_mails(
    dialect: Dialect,
    on: &mut Connection,
    moved: &[MovedMail],
) -> Result<usize, StoreError> {
    record_for_listeners(dialect, on, moved, None).await
}

/// The same where it may be known already who listens.
pub(in crate::store) async fn record_for_listeners(
    dialect: Dialect,
    on: &mut Connection,
    moved: &[MovedMail],
    listeners: Option<Listeners>,
) -> Result<usize, StoreError> {
    let may_tell = |mail: &&MovedMail| !EventKind::of_mail(mail.state, true, true).is_empty();
    let listeners = match listeners {
        Some(listeners) => listeners,
        None => {
            let merchants = moved.iter().filter(may_tell).map(|mail| &mail.merchant).collect();
            Listeners::of(dialect, on, merchants).await?
        }
    };
    let listened: Vec<_> = moved.iter().filter(|mail| listeners.any_for(mail)).collect();
    if listened.is_empty() {
        return Ok(0);
    }
    let subjects = subjects(dialect, on, &listened).await?;
    let now = clock::now();
    let mut events = Vec::with_capacity(listened.len());
    for mail in listened {
        let Some((subject, trace_parent)) = subjects.get(&mail.id) else { continue };
        let kinds = EventKind::of_mail(mail.state, subject.cart.is_some(), subject.order.is_some());
        for kind in kinds.into_iter().filter(|&kind| listeners.any(&mail.merchant, kind)) {
            let body = event::body(kind, now, subject);
            let (merchant, trace_parent) = (mail.merchant.clone(), trace_parent.clone());
            events.push(NewEvent { merchant, kind, body, mail: Some(mail.id), trace_parent });
        }
    }
    insert(dialect, on, &events, &listeners).await
}

/// Records events for the endpoints that subscribe to them.
pub(in crate::store) async fn record(
    dialect: Dialect,
    on: &mut Connection,
    events: &[NewEvent],
) -> Result<(), StoreError> {
    let listeners = Listeners::of(dialect, on, events.iter().map(|event| &event.merchant).collect()).await?;
    insert(dialect, on, events, &listeners).await.map(drop)
}

/// Records one event for one endpoint, whatever that listens to. Returns its delivery.
pub(in crate::store) async fn record_for(
    dialect: Dialect,
    on: &mut Connection,
    event: NewEvent,
    endpoint: EndpointId,
) -> Result<DeliveryId, StoreError> {
    let only = Listeners(HashMap::from([(event.merchant.clone(), vec![(endpoint, Topics::All)])]));
    let (events, deliveries) = rows(std::slice::from_ref(&event), &only);
    let id = deliveries.first().map_or_else(DeliveryId::new, |delivery| delivery.id);
    write(dialect, on, &events, &deliveries).await?;
    Ok(id)
}

/// The enabled endpoints of some merchants.
pub(in crate::store) struct Listeners(HashMap<MerchantId, Vec<(EndpointId, Topics)>>);

static LISTENERS: Sql = Sql::new(
    "SELECT id, merchant_id, events FROM endpoints
     WHERE enabled = 1 AND merchant_id IN (SELECT rows.id FROM {rows: id text}) ORDER BY id",
);

/// Part of a statement on Postgres, for [`Listeners::read`]: who listens to the merchants of what it `moved`.
pub(in crate::store) const LISTENERS_OF_MOVED: &str =
    "COALESCE((SELECT json_agg(json_build_object('id', id, 'merchant', merchant_id, 'events', events::json) ORDER BY id)
        FROM endpoints WHERE enabled = 1 AND merchant_id IN (SELECT moved.merchant_id FROM moved)), '[]')::text";

impl Listeners {
    /// Reads what a statement says with [`LISTENERS_OF_MOVED`].
    pub(in crate::store) fn read(json: &str) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Listener {
            id: EndpointId,
            merchant: MerchantId,
            events: Vec<String>,
        }
        let corrupt = |error| StoreError::Corrupt { table: "endpoints", why: row::what_is_wrong(&error) };
        let read: Vec<Listener> = serde_json::from_str(json).map_err(corrupt)?;
        let mut listeners = HashMap::new();
        for Listener { id, merchant, events } in read {
            listeners.entry(merchant).or_insert_with(Vec::new).push((id, topics_named(&events)));
        }
        Ok(Self(listeners))
    }

    async fn of(
        dialect: Dialect,
        on: &mut Connection,
        merchants: BTreeSet<&MerchantId>,
    ) -> Result<Self, StoreError> {
        #[derive(Serialize)]
        struct Asked<'a> {
            id: &'a MerchantId,
        }
        let mut listeners = HashMap::new();
        if merchants.is_empty() {
            return Ok(Self(listeners));
        }
        let asked: Vec<_> = merchants.into_iter().map(|id| Asked { id }).collect();
        let rows = LISTENERS.with(dialect, &asked).fetch_all(on).await.doing("find who listens to events")?;
        for row in &rows {
            let columns = Columns { table: "endpoints", row };
            let merchant: MerchantId = columns.parsed("merchant_id")?;
            let listener = (columns.parsed("id")?, topics(&columns)?);
            listeners.entry(merchant).or_insert_with(Vec::new).push(listener);
        }
        Ok(Self(listeners))
    }

    fn for_kind(&self, merchant: &MerchantId, kind: EventKind) -> impl Iterator<Item = EndpointId> {
        let all = self.0.get(merchant).into_iter().flatten();
        all.filter(move |(_, topics)| topics.include(kind)).map(|(endpoint, _)| *endpoint)
    }

    fn any(&self, merchant: &MerchantId, kind: EventKind) -> bool {
        self.for_kind(merchant, kind).next().is_some()
    }

    /// Whether somebody may want to know of this mail. What it is about is not known yet.
    fn any_for(&self, mail: &MovedMail) -> bool {
        let kinds = EventKind::of_mail(mail.state, true, true);
        kinds.into_iter().any(|kind| self.any(&mail.merchant, kind))
    }
}

/// The events that an endpoint listens to. Names of a later version are passed over.
pub(super) fn topics(columns: &Columns<'_>) -> Result<Topics, StoreError> {
    Ok(topics_named(&columns.json::<Vec<String>>("events")?))
}

fn topics_named(names: &[String]) -> Topics {
    let known: Vec<_> =
        names.iter().filter(|name| *name == "*" || name.parse::<EventKind>().is_ok()).collect();
    Topics::parse(&known).unwrap_or(Topics::All)
}

static SUBJECTS: Sql = Sql::new(
    "SELECT mails.id, template, recipient, mails.state, message_id, provider_id, route, attempt, member_id, order_id,
        cart_id, subscription_id, batch_id, cancel_reason, test, extras, traceparent
     FROM {rows: id text} JOIN mails ON mails.id = rows.id",
);

async fn subjects(
    dialect: Dialect,
    on: &mut Connection,
    mails: &[&MovedMail],
) -> Result<HashMap<MailId, (MailSubject, Option<String>)>, StoreError> {
    #[derive(Serialize)]
    struct Asked {
        id: MailId,
    }
    let asked: Vec<_> = mails.iter().map(|mail| Asked { id: mail.id }).collect();
    let rows = SUBJECTS.with(dialect, &asked).fetch_all(on).await.doing("read what happened to mails")?;
    let mut subjects = HashMap::with_capacity(rows.len());
    for row in &rows {
        let columns = Columns { table: "mails", row };
        let (id, subject) = read_subject(&columns)?;
        subjects.insert(id, (subject, columns.optional_text("traceparent")?));
    }
    for mail in mails {
        if let Some((subject, _)) = subjects.get_mut(&mail.id) {
            subject.code = mail.code;
            subject.enhanced_code.clone_from(&mail.enhanced_code);
            subject.reply.clone_from(&mail.reply);
            subject.class = mail.class;
        }
    }
    Ok(subjects)
}

fn read_subject(columns: &Columns<'_>) -> Result<(MailId, MailSubject), StoreError> {
    let extras: Extras = columns.optional_json("extras")?.unwrap_or_default();
    let subject = MailSubject {
        id: columns.text("id")?,
        template: columns.text("template")?,
        recipient: columns.text("recipient")?,
        state: columns.parsed("state")?,
        message_id: columns.text("message_id")?,
        provider_id: columns.optional_text("provider_id")?,
        route: columns.optional_text("route")?,
        attempts: u32::try_from(columns.integer("attempt")?).unwrap_or(0),
        code: None,
        enhanced_code: None,
        reply: None,
        class: None,
        cancel_reason: columns.optional_parsed("cancel_reason")?,
        test: columns.integer("test")? != 0,
        tags: extras.tags,
        metadata: extras.metadata,
        member: columns.optional_text("member_id")?,
        order: columns.optional_text("order_id")?,
        cart: columns.optional_text("cart_id")?,
        subscription: columns.optional_text("subscription_id")?,
        batch: columns.optional_text("batch_id")?,
    };
    Ok((columns.parsed("id")?, subject))
}

static INSERT_EVENTS: Sql = Sql::new(
    "INSERT INTO events (id, merchant_id, type, body, mail_id, created_at, traceparent)
     SELECT id, merchant, kind, body, mail, $2, traceparent
     FROM {rows: id text, merchant text, kind text, body text, mail text, traceparent text}",
);

static INSERT_DELIVERIES: Sql = Sql::new(
    "INSERT INTO deliveries (id, merchant_id, event_id, endpoint_id, state, created_at, due_at, wake_at)
     SELECT id, merchant, event, endpoint, 'queued', $2, $2, $2
     FROM {rows: id text, merchant text, event text, endpoint text}",
);

#[derive(Serialize)]
struct EventRow<'a> {
    id: EventId,
    merchant: &'a MerchantId,
    kind: EventKind,
    body: &'a str,
    mail: Option<MailId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

#[derive(Serialize)]
struct DeliveryRow<'a> {
    id: DeliveryId,
    merchant: &'a MerchantId,
    event: EventId,
    endpoint: EndpointId,
}

fn rows<'a>(events: &'a [NewEvent], listeners: &Listeners) -> (Vec<EventRow<'a>>, Vec<DeliveryRow<'a>>) {
    let (mut event_rows, mut deliveries) = (Vec::new(), Vec::new());
    for NewEvent { merchant, kind, body, mail, trace_parent } in events {
        let id = EventId::new();
        let before = deliveries.len();
        deliveries.extend(listeners.for_kind(merchant, *kind).map(|endpoint| DeliveryRow {
            id: DeliveryId::new(),
            merchant,
            event: id,
            endpoint,
        }));
        if deliveries.len() > before {
            let (mail, traceparent) = (*mail, trace_parent.as_deref());
            event_rows.push(EventRow { id, merchant, kind: *kind, body, mail, traceparent });
        }
    }
    (event_rows, deliveries)
}

async fn insert(
    dialect: Dialect,
    on: &mut Connection,
    events: &[NewEvent],
    listeners: &Listeners,
) -> Result<usize, StoreError> {
    let (events, deliveries) = rows(events, listeners);
    write(dialect, on, &events, &deliveries).await?;
    Ok(deliveries.len())
}

async fn write(
    dialect: Dialect,
    on: &mut Connection,
    events: &[EventRow<'_>],
    deliveries: &[DeliveryRow<'_>],
) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let now = clock::now().millis();
    for insert in [INSERT_EVENTS.with(dialect, events), INSERT_DELIVERIES.with(dialect, deliveries)] {
        insert.bind(now).execute(&mut *on).await.doing("record events")?;
    }
    Ok(())
}
