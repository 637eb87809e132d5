//! What a mail says: filled in as its worker does it.

use crate::{
    app::App,
    cpu_pool::Share,
    mail::Mail,
    render::{Content, RenderError},
    store::StoreError,
};

/// Fills a recorded mail in. The inner error says why that cannot be done.
///
/// # Errors
/// Those of a read: see [`StoreError`].
pub async fn content_of(app: &App, mail: &Mail) -> Result<Result<Content, RenderError>, StoreError> {
    let gone =
        |why: &str| StoreError::Corrupt { table: "mails", why: format!("{} of mail {}", why, mail.id) };
    let version = app.templates.version(&mail.template_version).await?;
    let version = version.ok_or_else(|| gone("there is no version of the template"))?;
    let values = serde_json::from_str(&mail.values).map_err(|_| gone("the values are no JSON"))?;
    let share = || Share::Request(mail.merchant.clone());
    let link = app.unsubscribe_link(mail);
    Ok(app.templates.render_mail(share, &version, mail, values, link.as_deref()).await)
}
