//! What a mail was asked for, read in the statement that claims it: no other round trip, and nothing at all for a mail that
//! depends on nothing.

use crate::{
    mail::Facts,
    store::{error::StoreError, row::Columns},
};

/// Columns of a statement that claims mails, of mails alone: what each was asked for, as it is now.
pub(super) const COLUMNS: &str = "cart_id, subscription_id,
    CASE WHEN mails.state = 'sending' AND COALESCE(cart_id, subscription_id, order_id) IS NOT NULL THEN
        (SELECT body FROM resources WHERE resources.merchant_id = mails.merchant_id
            AND resources.kind = CASE WHEN mails.cart_id IS NOT NULL THEN 'abandoned-carts'
                WHEN mails.subscription_id IS NOT NULL THEN 'subscriptions' ELSE 'orders' END
            AND resources.id = COALESCE(mails.cart_id, mails.subscription_id, mails.order_id)) END AS asked_for,
    CASE WHEN mails.state = 'sending' AND subscription_id IS NOT NULL THEN
        (SELECT country FROM merchants WHERE merchants.id = mails.merchant_id) END AS country,
    CASE WHEN mails.state = 'sending' AND order_id IS NOT NULL THEN
        (SELECT template_name FROM order_emails WHERE order_emails.mail_id = mails.id) END AS order_template";

/// Reads them.
pub(super) fn read(columns: &Columns<'_>) -> Result<Option<Facts>, StoreError> {
    let document = columns.optional_text("asked_for")?;
    Ok(if columns.optional_text("cart_id")?.is_some() {
        Some(Facts::Cart { document })
    } else if columns.optional_text("subscription_id")?.is_some() {
        Some(Facts::Subscription { document, country: columns.optional_text("country")?.unwrap_or_default() })
    } else {
        // A mail that names an order without being an entry of it depends on nothing.
        columns.optional_text("order_template")?.map(|template| Facts::Order { document, template })
    })
}
