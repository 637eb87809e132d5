//! Many documents at once, one JSON object a line: `POST /api/v1/import`, and `postroom import` on the command line.
//!
//! The lines are a stream: however many there are, [`Import`] holds one chunk of them, checks it away from the async
//! threads, stores what is sound in one transaction and goes on. Lines that are not sound are named and left out.

mod composed_lines;
mod lines;
mod room;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::StatusCode,
    routing::post,
};
use futures_util::StreamExt;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    auth::Caller,
    body,
    documents::DocumentLimits,
    error::{FieldError, Refusal, fault},
};
use crate::{
    app::App,
    audit::Author,
    cpu_pool::{Busy, Share},
    mail::MerchantId,
    shop::{Ability, ResourceKind},
    store::{NewSuppression, ResourceRow, Store, StoreError},
};
use lines::{Line, ReadLine, is_template, read_line};

/// Where imports are sent.
pub(super) const PATH: &str = "/api/v1/import";
/// The most faults that an answer names.
const NAMED_FAULTS: usize = 1_000;
/// The most lines that are checked and stored at once.
const CHUNK: usize = 500;
/// About how many bytes of lines are checked and stored at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The most lines that are read in one turn.
const LINES_AT_ONCE: usize = 50;
/// Between two asks for a turn.
const TURN_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// How long an import waits until another has ended.
const OTHER_IMPORT_TIMEOUT: Duration = Duration::from_secs(1);
/// How many brands are remembered: that they are there is found out again.
const MOST_KNOWN: usize = 10_000;
/// The longest line, in bytes.
const LONGEST_LINE: usize = 2 << 20;

pub(super) fn router() -> Router<Arc<App>> {
    Router::new().route(PATH, post(import))
}

/// The result of an import.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ImportAnswer {
    /// Lines that were stored.
    accepted: usize,
    /// Lines that were not.
    refused: usize,
    /// The first 1,000 faults.
    errors: Vec<LineError>,
}

/// What is wrong with a line of an import.
#[derive(Debug, Serialize, ToSchema)]
pub struct LineError {
    /// The line, from 1.
    pub line: usize,
    /// Where in the line's object.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

#[utoipa::path(post, path = "/api/v1/import", tag = "resources",
    request_body(content = String, content_type = "application/x-ndjson",
        description = "Lines of at most 2 MiB, as many as there are: documents with their `kind` and `id`"),
    responses((status = 200, body = ImportAnswer)))]
pub(super) async fn import(
    State(app): State<Arc<App>>,
    caller: Caller,
    request: Request,
) -> Result<Json<ImportAnswer>, Refusal> {
    caller.may(Ability::ResourcesWrite)?;
    if !body::is_utf8_of(request.headers(), |essence| essence == "application/x-ndjson") {
        let message = "The body must be application/x-ndjson.";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    }
    let merchant = Some(&caller.merchant.id);
    let _place = app.imports.hold(merchant, 1, OTHER_IMPORT_TIMEOUT).await.map_err(body::full)?;
    let mut import = Import::new(&app, caller.author(), Some(caller.merchant.id.clone()), NAMED_FAULTS);
    let mut lines = request.into_body().into_data_stream();
    loop {
        let coming = tokio::time::timeout(app.config.http.timeout, lines.next()).await;
        let stopped = |_| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "The body stopped coming.");
        match coming.map_err(stopped)? {
            Some(bytes) => import.feed(&bytes.map_err(|error| body::unreadable(&error))?).await?,
            None => break,
        }
    }
    import.finish().await?;
    let Import { accepted, refused, faults: errors, .. } = import;
    Ok(Json(ImportAnswer { accepted, refused, errors }))
}

/// An import under way.
pub struct Import<'a> {
    app: &'a App,
    store: Store,
    /// What the import is called in each merchant's audit.
    ids: HashMap<MerchantId, Uuid>,
    /// Whose documents they are; where none, each line names its merchant.
    owner: Option<MerchantId>,
    /// Lines that were stored.
    pub accepted: usize,
    /// Lines that were not.
    pub refused: usize,
    faults: Vec<LineError>,
    most_faults: usize,
    lines: usize,
    unfinished: Vec<u8>,
    is_too_long: bool,
    chunk: Vec<(usize, Vec<u8>)>,
    chunk_bytes: usize,
    known: Known,
}

/// The lines of a chunk that may be stored for one merchant.
#[derive(Default)]
struct Sound {
    documents: Vec<(usize, ResourceRow)>,
    suppressions: Vec<(usize, NewSuppression)>,
}

/// Merchants and brands that the import has met, so that 100,000 members do not ask for theirs 100,000 times.
#[derive(Default)]
struct Known {
    merchants: HashSet<MerchantId>,
    brands: HashSet<(MerchantId, String)>,
}

impl<'a> Import<'a> {
    /// Begins an import; with an owner all documents are that merchant's. At most so many faults are kept at a time.
    pub fn new(app: &'a App, author: Author, owner: Option<MerchantId>, most_faults: usize) -> Self {
        Self {
            app,
            store: app.store.acting_for(author),
            ids: HashMap::new(),
            owner,
            accepted: 0,
            refused: 0,
            faults: Vec::new(),
            most_faults,
            lines: 0,
            unfinished: Vec::new(),
            is_too_long: false,
            chunk: Vec::new(),
            chunk_bytes: 0,
            known: Known::default(),
        }
    }

    /// Takes the next bytes, however they are cut.
    ///
    /// # Errors
    /// When the database does not take what is sound. What was stored before stays, so the whole import may be made again.
    pub async fn feed(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.extend_line(&bytes[..end]);
            self.end_line().await?;
            bytes = &bytes[end + 1..];
        }
        self.extend_line(bytes);
        Ok(())
    }

    /// Takes what is left: a last line need not end.
    ///
    /// # Errors
    /// When the database does not take what is sound. What was stored before stays, so the whole import may be made again.
    pub async fn finish(&mut self) -> Result<(), StoreError> {
        self.end_line().await?;
        self.store().await
    }

    /// The faults found since the last call, in the order of their lines.
    pub fn drain_faults(&mut self) -> Vec<LineError> {
        std::mem::take(&mut self.faults)
    }

    fn extend_line(&mut self, bytes: &[u8]) {
        if self.is_too_long || self.unfinished.len() + bytes.len() > LONGEST_LINE {
            self.is_too_long = true;
            self.unfinished = Vec::new();
        } else {
            self.unfinished.extend_from_slice(bytes);
        }
    }

    async fn end_line(&mut self) -> Result<(), StoreError> {
        self.lines += 1;
        let line = std::mem::take(&mut self.unfinished);
        if std::mem::take(&mut self.is_too_long) {
            self.store().await?; // faults are named in the order of their lines
            self.refuse(self.lines, vec![fault("", "is longer than 2 MiB")]);
        } else if !line.iter().all(u8::is_ascii_whitespace) {
            self.chunk_bytes += line.len();
            self.chunk.push((self.lines, line));
        }
        if self.chunk.len() == CHUNK || self.chunk_bytes >= CHUNK_BYTES {
            self.store().await?;
        }
        Ok(())
    }

    /// Checks the chunk and stores what is sound.
    async fn store(&mut self) -> Result<(), StoreError> {
        self.chunk_bytes = 0;
        let mut sound = HashMap::new();
        for (number, read) in self.read_lines().await {
            let placed = match read {
                Ok((named, line)) => {
                    if needs_stored(&sound, &line) {
                        self.store_sound(std::mem::take(&mut sound)).await?;
                    }
                    self.place(named, &line).await?.map(|merchant| (merchant, line))
                }
                Err(faults) => Err(faults),
            };
            match placed {
                Ok((merchant, Line::Document(row))) => {
                    sound.entry(merchant).or_default().documents.push((number, *row));
                }
                Ok((merchant, Line::Composed(kind, id, given))) => {
                    self.store_composed(&merchant, (number, kind, &id), &given).await?;
                }
                Ok((merchant, Line::Suppression(suppression))) => {
                    sound.entry(merchant).or_default().suppressions.push((number, suppression));
                }
                Err(faults) => self.refuse(number, faults),
            }
        }
        self.store_sound(sound).await
    }

    /// Stores lines that are sound, as far as there is room for them.
    async fn store_sound(&mut self, sound: HashMap<MerchantId, Sound>) -> Result<(), StoreError> {
        for (merchant, Sound { documents, suppressions }) in sound {
            let rows = self.with_room(&merchant, documents).await?;
            let suppressions = self.suppressions_with_room(&merchant, suppressions).await?;
            self.accepted += rows.len() + suppressions.len();
            let id = *self.ids.entry(merchant.clone()).or_insert_with(Uuid::now_v7);
            if !rows.is_empty() {
                self.store.import_resources(id, &merchant, rows).await?;
            }
            if !suppressions.is_empty() {
                self.store.import_suppressions(id, &merchant, suppressions).await?;
            }
        }
        Ok(())
    }

    /// Reads the lines of the chunk, away from the async threads: some at a time, so that others have their turn, and a
    /// template, which may be hostile, alone.
    async fn read_lines(&mut self) -> Vec<(usize, ReadLine)> {
        let mut read = Vec::with_capacity(self.chunk.len());
        let mut lines = std::mem::take(&mut self.chunk).into_iter().peekable();
        while lines.peek().is_some() {
            let mut some = Vec::new();
            while some.len() < LINES_AT_ONCE
                && let Some(line) = lines.next_if(|(_, line)| some.is_empty() || !is_template(line))
            {
                some.push(line);
            }
            let some = Arc::new(some);
            // The import waits for its turn, however many others do.
            read.extend(loop {
                let (limits, some) = (DocumentLimits::of(self.app), Arc::clone(&some));
                let names_merchant = self.owner.is_none();
                let read_line = move |line: &[u8]| read_line(line, &limits, names_merchant);
                let read = move || some.iter().map(|(number, line)| (*number, read_line(line))).collect();
                let share = self.owner.clone().map_or(Share::Own, Share::Request);
                match self.app.cpu.run::<Vec<_>>(share, read).await {
                    Ok(read) => break read,
                    Err(Busy) => tokio::time::sleep(TURN_RETRY_INTERVAL).await,
                }
            });
        }
        read
    }

    /// Whose a line is, once that merchant and a document's brand are known to exist.
    async fn place(
        &mut self,
        named: Option<String>,
        line: &Line,
    ) -> Result<Result<MerchantId, Vec<FieldError>>, StoreError> {
        let store = &self.app.store;
        let merchant = match &self.owner {
            Some(owner) => owner.clone(),
            None => {
                let Some(merchant) = named.and_then(|name| name.parse::<MerchantId>().ok()) else {
                    return Ok(Err(vec![fault("merchant", "must name a merchant")]));
                };
                if !self.known.merchants.contains(&merchant) {
                    if store.merchant(&merchant).await?.is_none() {
                        return Ok(Err(vec![fault("merchant", "names no merchant")]));
                    }
                    self.known.merchants.insert(merchant.clone());
                }
                merchant
            }
        };
        if let Some(brand) = line.brand().map(|id| (merchant.clone(), id.to_owned()))
            && !self.known.brands.contains(&brand)
        {
            if store.resource(&merchant, ResourceKind::Brands, &brand.1).await?.is_none() {
                return Ok(Err(vec![fault("brand_id", "names no brand of this merchant")]));
            }
            if self.known.brands.len() >= MOST_KNOWN {
                self.known.brands.clear();
            }
            self.known.brands.insert(brand);
        }
        Ok(Ok(merchant))
    }

    fn refuse(&mut self, line: usize, faults: Vec<FieldError>) {
        self.refused += 1;
        let room = self.most_faults.saturating_sub(self.faults.len());
        let named = faults.into_iter().take(room);
        self.faults.extend(named.map(|FieldError { path, message }| LineError { line, path, message }));
    }
}

/// Whether lines that are not stored yet come first: the brand that this one belongs to, or, where it is stored at once, what it
/// replaces.
fn needs_stored(sound: &HashMap<MerchantId, Sound>, line: &Line) -> bool {
    let has = |kind: ResourceKind, id: &str| {
        let is_it = |row: &ResourceRow| row.kind == kind && row.id == id;
        sound.values().any(|sound| sound.documents.iter().any(|(_, row)| is_it(row)))
    };
    let replaces = match line {
        Line::Composed(kind, id, _) => has(*kind, id),
        Line::Document(_) | Line::Suppression(_) => false,
    };
    replaces || line.brand().is_some_and(|brand| has(ResourceKind::Brands, brand))
}
