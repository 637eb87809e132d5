//! The callers: they ask for mails as the plan says, ask again where a careful program would, and note what they were told.

mod caller;
mod groups;
mod singles;

use std::{sync::Arc, time::Duration};

use postroom::{clock, mail::Timestamp};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{
    ledger::{Ends, Ledger, Promise, Said},
    plan::{Step, Task},
};
use crate::support::Shop;

/// Callers who persist do so for this long after the last step.
const PERSISTENCE: Duration = Duration::from_secs(120);

/// What all callers share.
pub struct Load {
    shops: Vec<Shop>,
    hook: String,
    ledger: Arc<Ledger>,
    moves_clocks: bool,
    gives_up: Instant,
}

impl Load {
    /// Callers who speak to these processes.
    pub fn new(
        shops: Vec<Shop>,
        hook: String,
        ledger: Arc<Ledger>,
        moves_clocks: bool,
        length: Duration,
    ) -> Self {
        Self { shops, hook, ledger, moves_clocks, gives_up: Instant::now() + length + PERSISTENCE }
    }

    /// Takes all steps at their times and returns when each caller has an answer or has given up.
    pub async fn run(self: Arc<Self>, steps: Vec<Step>, start: Instant) {
        let mut callers = JoinSet::new();
        for (number, step) in steps.into_iter().enumerate() {
            tokio::time::sleep_until(start + step.at).await;
            callers.spawn(Arc::clone(&self).take(number, step));
        }
        while let Some(ended) = callers.join_next().await {
            ended.unwrap();
        }
    }

    async fn take(self: Arc<Self>, number: usize, step: Step) {
        match step.task {
            Task::Mail { word, holds } => self.mail(number, step, word, holds).await,
            Task::Reminder => self.reminder(number, step).await,
            Task::CartLink => self.cart_link(number, step).await,
            Task::Order => self.order(number, step).await,
            Task::Scheduled => self.scheduled(number, step).await,
            Task::Cancelled => self.cancelled(number, step).await,
            Task::Suppressed => self.suppressed(number, step).await,
            Task::Batch(end) => self.batch(number, step, end).await,
            Task::BulkCancel => self.bulk_cancel(number, step).await,
        }
    }

    fn promise(&self, promise: Promise) {
        if let Said::No(status, answer) = &promise.said {
            self.ledger.oddities().push(format!("{} was refused: {status} {answer}", promise.recipient));
        }
        self.ledger.promises().push(promise);
    }
}

impl Promise {
    fn new(recipient: String, said: Said, ends: Ends) -> Self {
        Self {
            recipient,
            said,
            ends,
            at: clock::now(),
            not_before: None,
            order: None,
            also: None,
            is_delayed: false,
        }
    }
}

/// The address to which nobody else's mail goes.
fn address(number: usize, task: Task) -> String {
    match task {
        Task::Mail { word, .. } => format!("{word}-{number}@example.net"),
        _ => format!("ok-{number}@example.net"),
    }
}

fn address_in_group(number: usize, place: usize) -> String {
    format!("ok-{number}-{place}@group.example.net")
}

/// How many mails a batch or a bulk action is about.
fn size_of_group(number: usize, task: Task) -> usize {
    match task {
        Task::Batch(_) => 20 + number * 7 % 120,
        Task::BulkCancel => 8,
        _ => 0,
    }
}

/// What postroom must know before a step can be taken.
pub fn documents(number: usize, task: Task) -> Vec<Value> {
    let member = |id: String, email: String| json!({"kind": "members", "id": id, "brand_id": "tea", "email": email, "first_name": "Ann", "last_name": "Lee"});
    let (id, email) = (format!("m{number}"), address(number, task));
    match task {
        Task::Reminder => {
            vec![json!({"kind": "abandoned-carts", "id": id, "currency": "EUR", "total": "9.90",
            "recovery_link": "https://tea.example/recover", "customer": {"email": email}})]
        }
        Task::CartLink => vec![json!({"kind": "subscriptions", "id": id, "state": "waiting_for_payment",
            "cart_link": "https://tea.example/cart", "shopper": {"email": email}})],
        Task::Order => vec![json!({"kind": "orders", "id": id, "currency": "EUR", "totalAmount": "59.90",
            "endUser": {"email": email}, "paymentStatus": "COMPLETED", "emailConfirmationStatus": "COMPLETED"})],
        Task::Batch(_) | Task::BulkCancel => (0..size_of_group(number, task))
            .map(|place| member(format!("m{number}-{place}"), address_in_group(number, place)))
            .collect(),
        _ => vec![member(id, email)],
    }
}

fn mail_to(member: &str) -> Value {
    json!({"brand_id": "tea", "template_id": "welcome", "user": {"identifier": member}})
}

fn in_seconds(seconds: u64) -> Timestamp {
    clock::now() + Duration::from_secs(seconds)
}
