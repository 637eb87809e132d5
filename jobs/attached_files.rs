//! The files of a mail that is about to be composed, within a bound of memory for all that are.

use std::{collections::HashMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use crate::{
    app::App,
    limits::InFlightPermit,
    mail::Mail,
    render::{AttachedContent, RenderError},
};

/// How often a byte of a file is in memory until its mail is sent: as it is stored, as it is, and in the message.
const COPIES: usize = 4;
/// How long a claimed mail waits for room; then its claim is given back.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// The files of one mail, by their hashes in base64, and the room that they take. Most mails have none.
#[derive(Default)]
pub(super) struct Files {
    base64: HashMap<String, String>,
    pub(super) room: Option<InFlightPermit>,
}

/// Reads a mail's files; `None` when there is no room for them now.
pub(super) async fn of(app: &App, mail: &Mail) -> anyhow::Result<Option<Files>> {
    let Some(extras) = mail.extras.as_ref().filter(|extras| !extras.attachments.is_empty()) else {
        return Ok(Some(Files::default()));
    };
    let needed = extras.attachments.iter().map(|file| file.size).sum::<usize>() * COPIES;
    let Ok(room) = app.attached.hold(Some(&mail.merchant), needed, ROOM_WAIT).await else { return Ok(None) };
    let hashes = extras.attachments.iter().map(|file| file.hash.as_str());
    let base64 = app.store.attachments(&mail.merchant, hashes).await?;
    Ok(Some(Files { base64, room: Some(room) }))
}

impl Files {
    /// The files with what is in them, in the order of the mail.
    ///
    /// # Errors
    /// [`RenderError::Attachment`] when one is gone.
    pub(super) fn contents<'a>(&self, mail: &'a Mail) -> Result<Vec<AttachedContent<'a>>, RenderError> {
        let files = mail.extras.iter().flat_map(|extras| &extras.attachments);
        files
            .map(|file| {
                let base64 = self.base64.get(&file.hash).ok_or(RenderError::Attachment)?;
                Ok(AttachedContent {
                    filename: &file.filename,
                    content_type: &file.content_type,
                    content_id: file.content_id.as_deref(),
                    content: BASE64_STANDARD.decode(base64).map_err(|_| RenderError::Attachment)?,
                })
            })
            .collect()
    }
}
