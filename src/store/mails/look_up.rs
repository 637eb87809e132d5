//! Reading mails back, for merchants and operators.

use crate::{
    mail::{
        Address, CancelReason, Extras, Lane, MailId, MailLane, MailState, MerchantId, NOBODYS_DOMAIN, Origin,
        ReplyClass, Schedule, Timestamp,
    },
    store::{
        database::Store,
        error::{Doing, StoreError},
        row::Columns,
        row::Row,
        sql::lines_of_plan,
        statement::{Statement, query},
    },
};

/// A mail as people see it; its content stays out.
#[derive(Clone, Debug)]
pub struct MailRecord {
    /// Its id.
    pub id: MailId,
    /// Whose mail it is.
    pub merchant: MerchantId,
    /// The lane it travels in.
    pub lane: MailLane,
    /// Where it is on its way.
    pub state: MailState,
    /// The name of its template.
    pub template: String,
    /// The version of it that the mail is made from.
    pub template_version: String,
    /// Whom it is for.
    pub recipient: String,
    /// The `Message-ID`, without angle brackets.
    pub message_id: String,
    /// What it is about.
    pub origin: Origin,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Not before this time, or when the next attempt is due.
    pub due_at: Timestamp,
    /// When the last worker took it.
    pub claimed_at: Option<Timestamp>,
    /// When it was settled.
    pub settled_at: Option<Timestamp>,
    /// How many attempts were begun.
    pub attempt: u32,
    /// The last route.
    pub route: Option<String>,
    /// The id that the relay gave it.
    pub provider_id: Option<String>,
    /// Why the last attempt did not deliver it.
    pub error: Option<String>,
    /// What the merchant said of its time.
    pub schedule: Schedule,
    /// What had changed when its reason was asked again, where it was cancelled for that.
    pub cancel_reason: Option<CancelReason>,
    /// Whether it goes to the sandbox and never to a relay.
    pub is_test: bool,
    /// What its request gave it beside the values.
    pub extras: Extras,
}

impl MailRecord {
    /// Whether its recipient is gone: a member that was deleted before the mail was made, or somebody who was erased.
    pub fn is_to_nobody(&self) -> bool {
        self.recipient.rsplit_once('@').is_some_and(|(_, domain)| domain == NOBODYS_DOMAIN)
    }
}

/// One attempt as people see it.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it began.
    pub at: Timestamp,
    /// The route that was tried.
    pub route: String,
    /// How far it came; `None` when the worker died.
    pub phase: Option<String>,
    /// What it came to.
    pub outcome: String,
    /// The SMTP code.
    pub code: Option<u16>,
    /// The enhanced code.
    pub enhanced: Option<String>,
    /// The relay's words.
    pub reply: String,
    /// How long it took.
    pub millis: u64,
    /// What the reply means.
    pub class: ReplyClass,
    /// What was said on the wire, where it failed.
    pub transcript: Option<String>,
}

/// Which mails to list; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct MailFilter {
    /// Of this merchant.
    pub merchant: Option<MerchantId>,
    /// In this state.
    pub state: Option<MailState>,
    /// In this lane.
    pub lane: Option<Lane>,
    /// For this address, in any case and with its domain in either form.
    pub recipient: Option<String>,
    /// About this order.
    pub order: Option<String>,
    /// About this cart.
    pub cart: Option<String>,
    /// About this subscription.
    pub subscription: Option<String>,
    /// Of this batch.
    pub batch: Option<String>,
    /// That a relay gave this id.
    pub provider_id: Option<String>,
    /// After this one.
    pub after: Option<MailId>,
    /// The maximum number of results.
    pub limit: u32,
}

pub(super) const COLUMNS: &str = "mails.id, merchant_id, lane, state, template, template_version, recipient, message_id, member_id, order_id, cart_id,
    subscription_id, batch_id, recorded_at, due_at, claimed_at, settled_at, attempt, route, provider_id, error, send_at,
    expires_at, cancel_reason, test, extras";

impl MailFilter {
    /// The statement, and the values from `$3` on. Each filter has an index that also gives the order.
    fn statement(&self) -> (String, Vec<String>) {
        let is_under_way = |state: &MailState| matches!(state, MailState::Queued | MailState::Sending);
        let state = |wanted: bool| {
            self.state.filter(|state| is_under_way(state) == wanted).map(|state| state.as_str().to_owned())
        };
        let conditions = [
            ("merchant_id", self.merchant.as_ref().map(|id| id.as_str().to_owned())),
            ("wake_at IS NOT NULL AND state", state(true)),
            ("state_after", state(false)),
            ("lane", self.lane.map(|lane| lane.as_str().to_owned())),
            ("recipient_key", self.recipient.as_deref().map(folded)),
            ("order_id", self.order.clone()),
            ("cart_id", self.cart.clone()),
            ("subscription_id", self.subscription.clone()),
            ("batch_id", self.batch.clone()),
            ("provider_id", self.provider_id.clone()),
        ];
        let (mut further, mut values) = (String::new(), Vec::new());
        for (column, value) in conditions.into_iter().filter_map(|(column, value)| Some((column, value?))) {
            values.push(value);
            further.push_str(&format!(" AND {column} = ${}", values.len() + 2));
        }
        (format!("SELECT {COLUMNS} FROM mails WHERE id > $1{further} ORDER BY id LIMIT $2"), values)
    }
}

/// An address as somebody wrote it, in the form that is compared.
fn folded(recipient: &str) -> String {
    recipient.parse::<Address>().map_or_else(|_| recipient.to_lowercase(), |address| address.search_key())
}

fn bound(statement: String, filter: &MailFilter, values: Vec<String>) -> Statement {
    let statement = query(sqlx::AssertSqlSafe(statement))
        .bind(filter.after.map(|id| id.to_string()).unwrap_or_default())
        .bind(i64::from(filter.limit));
    values.into_iter().fold(statement, Statement::bind)
}

impl Store {
    /// Finds a mail; of this merchant, when one is given.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mail(
        &self,
        merchant: Option<&MerchantId>,
        id: MailId,
    ) -> Result<Option<MailRecord>, StoreError> {
        let row = self.row_of_mail(COLUMNS, merchant, id).await?;
        row.map(|row| read(&Columns { table: "mails", row: &row })).transpose()
    }

    /// These columns of a mail; of this merchant's, when one is given.
    pub(super) async fn row_of_mail(
        &self,
        columns: &str,
        merchant: Option<&MerchantId>,
        id: MailId,
    ) -> Result<Option<Row>, StoreError> {
        query(sqlx::AssertSqlSafe(format!(
            "SELECT {columns} FROM mails WHERE id = $1 AND ($2 = '' OR merchant_id = $2)"
        )))
        .bind(id.to_string())
        .bind(merchant.map(MerchantId::as_str).unwrap_or_default())
        .fetch_optional(&self.readers)
        .await
        .doing("find a mail")
    }

    /// Lists mails, oldest first.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mails(&self, filter: &MailFilter) -> Result<Vec<MailRecord>, StoreError> {
        let (statement, values) = filter.statement();
        let rows = bound(statement, filter, values).fetch_all(&self.readers).await.doing("list mails")?;
        rows.iter().map(|row| read(&Columns { table: "mails", row })).collect()
    }

    /// How the database would list mails: the lines of its plan. For those who check that it reads no more than it shows.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn plan_of_mails(&self, filter: &MailFilter) -> Result<Vec<String>, StoreError> {
        let (statement, values) = filter.statement();
        let statement = format!("{} {statement}", self.dialect.explain());
        let rows = bound(statement, filter, values)
            .fetch_all(&self.readers)
            .await
            .doing("explain a list of mails")?;
        lines_of_plan(self.dialect, &rows)
    }

    /// The attempts of a mail, in order.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn attempts(&self, mail: MailId) -> Result<Vec<Attempt>, StoreError> {
        let rows = query(
            "SELECT number, at, route, phase, outcome, code, enhanced, reply, millis, class, transcript FROM attempts
             WHERE mail_id = $1 ORDER BY number",
        )
        .bind(mail.to_string())
        .fetch_all(&self.readers)
        .await
        .doing("list attempts")?;
        rows.iter().map(|row| read_attempt(&Columns { table: "attempts", row })).collect()
    }
}

pub(super) fn read(columns: &Columns<'_>) -> Result<MailRecord, StoreError> {
    Ok(MailRecord {
        id: columns.parsed("id")?,
        merchant: columns.parsed("merchant_id")?,
        lane: columns.parsed("lane")?,
        state: columns.parsed("state")?,
        template: columns.text("template")?,
        template_version: columns.text("template_version")?,
        recipient: columns.text("recipient")?,
        message_id: columns.text("message_id")?,
        origin: Origin {
            member: columns.optional_text("member_id")?,
            order: columns.optional_text("order_id")?,
            cart: columns.optional_text("cart_id")?,
            subscription: columns.optional_text("subscription_id")?,
            batch: columns.optional_parsed("batch_id")?,
        },
        recorded_at: columns.time("recorded_at")?,
        due_at: columns.time("due_at")?,
        claimed_at: columns.optional_time("claimed_at")?,
        settled_at: columns.optional_time("settled_at")?,
        attempt: u32::try_from(columns.integer("attempt")?).unwrap_or(0),
        route: columns.optional_text("route")?,
        provider_id: columns.optional_text("provider_id")?,
        error: columns.optional_text("error")?,
        schedule: Schedule {
            send_at: columns.optional_time("send_at")?,
            expires_at: columns.optional_time("expires_at")?,
        },
        cancel_reason: columns.optional_parsed("cancel_reason")?,
        extras: columns.optional_json("extras")?.unwrap_or_default(),
        is_test: columns.integer("test")? != 0,
    })
}

fn read_attempt(columns: &Columns<'_>) -> Result<Attempt, StoreError> {
    Ok(Attempt {
        number: u32::try_from(columns.integer("number")?).unwrap_or(0),
        at: columns.time("at")?,
        route: columns.text("route")?,
        phase: columns.optional_text("phase")?,
        outcome: columns.text("outcome")?,
        code: columns.optional_integer("code")?.and_then(|code| u16::try_from(code).ok()),
        enhanced: columns.optional_text("enhanced")?,
        reply: columns.text("reply")?,
        millis: u64::try_from(columns.integer("millis")?).unwrap_or(0),
        class: columns.parsed("class")?,
        transcript: columns.optional_text("transcript")?,
    })
}
