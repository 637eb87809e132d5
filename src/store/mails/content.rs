//! A mail with all that it is rendered from, for people who look at it.

use super::claim::{COLUMNS, read};
use crate::{
    mail::{Mail, MailId, MerchantId},
    store::{database::Store, error::StoreError, row::Columns},
};

impl Store {
    /// Reads a mail as a worker would; of this merchant, when one is given. It stays where it is.
    ///
    /// # Errors
    /// Those of a read: see [`StoreError`].
    pub async fn mail_to_look_at(
        &self,
        merchant: Option<&MerchantId>,
        id: MailId,
    ) -> Result<Option<Mail>, StoreError> {
        let row = self.row_of_mail(COLUMNS, merchant, id).await?;
        row.map(|row| read(&Columns { table: "mails", row: &row })).transpose()
    }
}
