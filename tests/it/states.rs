//! The pages about states are what the code does, and the databases allow what the code knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Display},
    fs,
    path::Path,
    str::FromStr,
};

use postroom::{
    mail::{
        ActionEvent, ActionKind, ActionResult, ActionState, AttemptOutcome, BatchEvent, BatchState,
        CrashPolicy, MailEvent, MailLane, MailState, SuppressionReason, SuppressionScope,
    },
    shop::{
        OperatorRole, ResourceKind, TemplateClass,
        order::{Workflow, WorkflowState},
    },
    webhook::{DeliveryEvent, DeliveryState},
};

/// A page, and the table of the code that it shows.
struct Page<S: 'static, E: 'static> {
    text: &'static str,
    states: &'static [S],
    events: &'static [E],
    after: fn(S, E) -> Option<S>,
}

const MAILS: Page<MailState, MailEvent> = Page {
    text: include_str!("../../docs/mail-states.md"),
    states: MailState::ALL,
    events: MailEvent::ALL,
    after: MailState::after,
};

const DELIVERIES: Page<DeliveryState, DeliveryEvent> = Page {
    text: include_str!("../../docs/delivery-states.md"),
    states: DeliveryState::ALL,
    events: DeliveryEvent::ALL,
    after: DeliveryState::after,
};

const BATCHES: Page<BatchState, BatchEvent> = Page {
    text: include_str!("../../docs/batch-states.md"),
    states: BatchState::ALL,
    events: BatchEvent::ALL,
    after: BatchState::after,
};

const ACTIONS: Page<ActionState, ActionEvent> = Page {
    text: include_str!("../../docs/action-states.md"),
    states: ActionState::ALL,
    events: ActionEvent::ALL,
    after: ActionState::after,
};

type Moves<S, E> = BTreeSet<(S, E, S)>;

impl<S, E> Page<S, E>
where
    S: Copy + Ord + Debug + FromStr<Err: Debug>,
    E: Copy + Ord + Debug + Display + FromStr<Err: Debug>,
{
    fn check(&self) {
        assert_eq!(self.moves_of_the_table(), self.moves_of_the_code(), "the table");
        assert_eq!(self.moves_of_the_diagram(), self.moves_of_the_code(), "the diagram");
        let explained: BTreeSet<_> =
            self.rows().filter(|(_, cells)| cells.len() == 1).map(|(state, _)| state).collect();
        assert!(self.states.iter().all(|state| explained.contains(state)), "{explained:?}");
        for event in self.events {
            assert!(self.text.contains(&format!("| `{event}` |")), "{event} is not explained");
        }
    }

    fn moves_of_the_code(&self) -> Moves<S, E> {
        let pairs =
            self.states.iter().flat_map(|&state| self.events.iter().map(move |&event| (state, event)));
        pairs.filter_map(|(state, event)| Some((state, event, (self.after)(state, event)?))).collect()
    }

    /// The cells of the table rows that begin with a state.
    fn rows(&self) -> impl Iterator<Item = (S, Vec<&'static str>)> {
        self.text.lines().filter_map(|line| {
            let mut cells = line.trim().strip_prefix('|')?.trim_end_matches('|').split('|').map(str::trim);
            let state = cells.next()?.trim_matches('`').parse().ok()?;
            Some((state, cells.collect()))
        })
    }

    fn moves_of_the_table(&self) -> Moves<S, E> {
        let of_three = |(state, cells): (S, Vec<&'static str>)| match cells[..] {
            [event, next] => {
                let word = |cell: &'static str| cell.trim_matches('`');
                Some((state, word(event).parse().unwrap(), word(next).parse().unwrap()))
            }
            _ => None,
        };
        self.rows().filter_map(of_three).collect()
    }

    fn moves_of_the_diagram(&self) -> Moves<S, E> {
        let arrows = self.text.lines().filter(|line| line.contains("-->") && !line.contains("[*]"));
        let moves = arrows.map(|line| {
            let (arrow, event) = line.split_once(':').unwrap();
            let (from, to) = arrow.split_once("-->").unwrap();
            (from.trim().parse().unwrap(), event.trim().parse().unwrap(), to.trim().parse().unwrap())
        });
        moves.collect()
    }
}

#[test]
fn the_page_about_mails_has_every_move_and_no_other() {
    MAILS.check();
}

#[test]
fn the_page_about_deliveries_has_every_move_and_no_other() {
    DELIVERIES.check();
}

#[test]
fn the_page_about_batches_has_every_move_and_no_other() {
    BATCHES.check();
}

#[test]
fn the_page_about_actions_has_every_move_and_no_other() {
    ACTIONS.check();
}

/// The words of a closed set.
fn words<T: Display>(all: &[T]) -> BTreeSet<String> {
    all.iter().map(T::to_string).collect()
}

/// What each `CHECK (column IN ('…', …))` of a database allows, by table and column.
fn checks(database: &str) -> BTreeMap<(String, String), BTreeSet<String>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(database);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut checks = BTreeMap::new();
    for file in files {
        // A table that is changed later counts as it is then.
        let text = fs::read_to_string(file).unwrap().replace("ALTER TABLE ", "CREATE TABLE ");
        let tables: Vec<_> = text.split("CREATE TABLE ").skip(1).collect();
        for table in tables {
            let name = table.split([' ', '(']).next().unwrap();
            for check in table.split("CHECK (").skip(1) {
                let Some((column, list)) = check.split_once(" IN (") else { continue };
                let list = list.split(')').next().unwrap();
                let is_a_list =
                    column.chars().all(|c| c.is_ascii_lowercase() || c == '_') && list.contains('\'');
                if is_a_list {
                    let words = list.split(',').map(|word| word.trim().trim_matches('\'').to_owned());
                    checks.insert((name.to_owned(), column.to_owned()), words.collect());
                }
            }
        }
    }
    checks
}

#[test]
fn the_databases_allow_the_words_that_the_code_knows_and_no_other() {
    // A workflow that nobody began has no row.
    let begun: Vec<_> =
        WorkflowState::ALL.iter().filter(|state| **state != WorkflowState::NotBegun).copied().collect();
    let with_versions: Vec<_> =
        ResourceKind::ALL.iter().filter(|kind| kind.has_versions()).copied().collect();
    let known = [
        ("mails", "lane", words(MailLane::ALL)),
        ("mails", "state", words(MailState::ALL)),
        ("mails", "on_crash", words(CrashPolicy::ALL)),
        ("template_versions", "on_crash", words(CrashPolicy::ALL)),
        ("template_versions", "class", words(TemplateClass::ALL)),
        ("template_versions", "kind", words(&with_versions)),
        ("partial_uses", "user_kind", words(&with_versions)),
        ("suppressions", "reason", words(SuppressionReason::ALL)),
        ("suppressions", "scope", words(SuppressionScope::ALL)),
        ("attempts", "outcome", words(AttemptOutcome::ALL)),
        ("order_workflows", "field", words(Workflow::ALL)),
        ("order_workflows", "state", words(&begun)),
        ("deliveries", "state", words(DeliveryState::ALL)),
        ("batches", "state", words(BatchState::ALL)),
        ("bulk_actions", "kind", words(ActionKind::ALL)),
        ("bulk_actions", "state", words(ActionState::ALL)),
        ("bulk_action_results", "result", words(ActionResult::ALL)),
        ("operators", "role", words(OperatorRole::ALL)),
        ("pauses", "scope", words(&["lane", "merchant", "route", "domain"])), // `PauseScope` has their names with them
        ("endpoints", "disabled_reason", words(&["gone", "failing"])),        // written by statements alone
    ];
    let known: BTreeMap<_, _> = known
        .into_iter()
        .map(|(table, column, words)| ((table.to_owned(), column.to_owned()), words))
        .collect();
    for database in ["sqlite", "postgres"] {
        let allowed = checks(database);
        assert_eq!(allowed, known, "{database}");
    }
}
