//! What is in the files that go with mails: stored once for each merchant, however many mails have it, and forgotten when
//! none has it any more. And the tags by which mails are found. Both are written with the mail.

use std::{collections::HashMap, time::Duration};

use futures_util::FutureExt;
use serde::Serialize;

use super::{
    connection::Connection,
    database::Store,
    dialect::Dialect,
    error::{Doing, StoreError},
    row::Columns,
    sql::Sql,
    statement::query,
    steps::in_steps,
};
use crate::{
    clock,
    mail::{MerchantId, NewMail},
};

/// A file that no mail has is kept for so long: its mail may be about to be recorded.
const UNUSED: Duration = Duration::from_secs(24 * 3_600);
/// How many files are forgotten at once: each may have 14 MB.
const STEP: i64 = 20;

/// What is in a file.
#[derive(Clone, Debug)]
pub struct NewAttachment {
    /// SHA-256 of the content, hex.
    pub hash: String,
    /// The content in base64.
    pub base64: String,
    /// Its size in bytes, before that.
    pub size: usize,
}

/// Whether files were stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentsStored {
    /// They are there.
    Now,
    /// The merchant has as much as it may have.
    NoRoom,
}

impl Store {
    /// Stores what is in files of a merchant, who may have `most` bytes of them; what is there already is not written again.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn store_attachments(
        &self,
        merchant: &MerchantId,
        files: Vec<NewAttachment>,
        most: u64,
    ) -> Result<AttachmentsStored, StoreError> {
        let merchant = merchant.to_string();
        self.writer
            .run(move |on| {
                async move {
                    let wanted: u64 = files.iter().map(|file| file.size as u64).sum();
                    if has_no_room(on, &merchant, wanted, most).await? {
                        return Ok(AttachmentsStored::NoRoom);
                    }
                    for file in files {
                        query(
                            "INSERT INTO attachments (merchant_id, hash, size, stored_at, base64) VALUES ($1, $2, $3, $4, $5)
                             ON CONFLICT (merchant_id, hash) DO UPDATE SET stored_at = excluded.stored_at",
                        )
                        .bind(merchant.clone())
                        .bind(file.hash)
                        .bind(i64::try_from(file.size).unwrap_or(i64::MAX))
                        .bind(clock::now().millis())
                        .bind(file.base64)
                        .execute(&mut *on)
                        .await
                        .doing("store an attachment")?;
                    }
                    Ok(AttachmentsStored::Now)
                }
                .boxed()
            })
            .await
    }

    /// Reads what is in files, in base64, by their hashes.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn attachments(
        &self,
        merchant: &MerchantId,
        hashes: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, String>, StoreError> {
        let mut found = HashMap::new();
        for hash in hashes {
            if found.contains_key(hash) {
                continue;
            }
            let row = query("SELECT base64 FROM attachments WHERE merchant_id = $1 AND hash = $2")
                .bind(merchant.to_string())
                .bind(hash.to_owned())
                .fetch_optional(&self.readers)
                .await
                .doing("read an attachment")?;
            if let Some(row) = row {
                found.insert(hash.to_owned(), Columns { table: "attachments", row: &row }.text("base64")?);
            }
        }
        Ok(found)
    }

    /// Forgets files that no mail has any more; returns how many.
    ///
    /// # Errors
    /// Those of a write: see [`StoreError`].
    pub async fn forget_unused_attachments(&self) -> Result<u64, StoreError> {
        let long_ago = (clock::now() - UNUSED).millis();
        in_steps(STEP, || async {
            let delete = query(
                "DELETE FROM attachments WHERE (merchant_id, hash) IN (
                    SELECT merchant_id, hash FROM attachments WHERE stored_at < $1 AND NOT EXISTS (
                        SELECT 1 FROM mail_attachments
                        WHERE mail_attachments.merchant_id = attachments.merchant_id AND mail_attachments.hash = attachments.hash)
                    LIMIT $2) AND stored_at < $1",
            );
            self.writer.in_background().execute(delete.bind(long_ago).bind(STEP), "forget unused attachments").await
        })
        .await
    }
}

async fn has_no_room(
    on: &mut Connection,
    merchant: &str,
    wanted: u64,
    most: u64,
) -> Result<bool, StoreError> {
    let row = query(
        "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) AS stored FROM attachments WHERE merchant_id = $1",
    )
    .bind(merchant.to_owned())
    .fetch_one(on)
    .await
    .doing("count attachments")?;
    Ok(Columns { table: "attachments", row: &row }.count("stored")?.saturating_add(wanted) > most)
}

static INSERT_TAGS: Sql = Sql::new(
    "INSERT INTO mail_tags (tag, tag_merchant, mail_id) SELECT tag, merchant, mail
     FROM {rows: tag text, merchant text, mail text} WHERE true ON CONFLICT DO NOTHING",
);
static INSERT_FILES: Sql = Sql::new(
    "INSERT INTO mail_attachments (mail_id, merchant_id, hash) SELECT mail, merchant, hash
     FROM {rows: mail text, merchant text, hash text} WHERE true ON CONFLICT DO NOTHING",
);

/// Records the tags of mails, and which files they have. Costs nothing for mails without.
pub(super) async fn record<'a>(
    dialect: Dialect,
    on: &mut Connection,
    mails: impl Iterator<Item = &'a NewMail>,
) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Tag<'a> {
        tag: String,
        merchant: &'a str,
        mail: String,
    }
    #[derive(Serialize)]
    struct File<'a> {
        mail: String,
        merchant: &'a str,
        hash: &'a str,
    }
    let (mut tags, mut files) = (Vec::new(), Vec::new());
    for (mail, extras) in mails.filter_map(|mail| Some((mail, mail.extras.as_deref()?))) {
        let merchant = mail.merchant.as_str();
        tags.extend(extras.search_tags().map(|tag| Tag { tag, merchant, mail: mail.id.to_string() }));
        let hashes = extras.attachments.iter().map(|file| file.hash.as_str());
        files.extend(hashes.map(|hash| File { mail: mail.id.to_string(), merchant, hash }));
    }
    let tags = (!tags.is_empty()).then(|| INSERT_TAGS.with(dialect, &tags));
    let files = (!files.is_empty()).then(|| INSERT_FILES.with(dialect, &files));
    for insert in tags.into_iter().chain(files) {
        insert.execute(&mut *on).await.doing("record what a mail has")?;
    }
    Ok(())
}
