//! A mail from a merchant's template to a member of a brand, filled in: what all ways of making one have in common, so that a
//! single mail, that of a batch, a test and a preflight say the same. Pure.
//!
//! Whether the template misses a value is for those who call it to ask, and to report in their way.

use serde_json::{Map, Value};

use super::{
    TemplateClass, TemplateVersion,
    consent::Consent,
    language::Language,
    locale::Locale,
    mailing::{Brand, Member, tag_values},
};
use crate::mail::{MailLane, Mailbox};

/// What fills a mail beside what is known of its brand and its member.
pub struct Filling<'a> {
    /// The caller's values by tag.
    pub user: Map<String, Value>,
    /// Where its pass is, if it has one.
    pub link_to_pass: Option<String>,
    /// What says the language where neither the member nor the brand nor the template does, and how money and dates are written.
    pub of_merchant: Locale<'a>,
}

/// A mail that is filled in.
pub struct FilledMail {
    /// What fills its template.
    pub values: Map<String, Value>,
    /// What it owes to the will of its recipient.
    pub consent: Consent,
    /// Its `From`.
    pub sender: Mailbox,
    /// Its `Reply-To`, where the caller gives no other.
    pub reply_to: Option<Mailbox>,
}

impl FilledMail {
    /// Fills one in. `link_to` makes a link of a path below `http.public_url`.
    pub fn of(
        version: &TemplateVersion,
        lane: MailLane,
        (brand, member): (&Brand, &Member),
        filling: Filling<'_>,
        link_to: impl FnOnce(&str) -> String,
    ) -> Self {
        let Filling { user, link_to_pass, of_merchant } = filling;
        let mut values = tag_values(version, (brand, member), user, link_to_pass, of_merchant);
        let fallback = Language::for_merchant(of_merchant.setting, of_merchant.country);
        let consent = Consent::of(version, class_of(version, lane), values.get("language"), fallback);
        consent.put_link(&mut values, link_to);
        let (sender, reply_to) = sender_of(version, brand);
        Self { values, consent, sender, reply_to }
    }
}

/// What the mails of a template are for. Where it does not say so, a mail of a batch is promotional, and any other is
/// transactional.
pub fn class_of(version: &TemplateVersion, lane: MailLane) -> TemplateClass {
    version.class.unwrap_or(match lane {
        MailLane::Transactional => TemplateClass::Transactional,
        MailLane::Bulk => TemplateClass::Promotional,
    })
}

/// The `From` and the `Reply-To` of a template's mails: its own sender, else the brand's; the brand's `Reply-To`, else where it
/// answers shoppers.
pub fn sender_of(version: &TemplateVersion, brand: &Brand) -> (Mailbox, Option<Mailbox>) {
    let sender = version.sender.clone().unwrap_or_else(|| brand.sender.clone().into());
    (sender, brand.look().answers_to())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::shop::mailing::UNSUBSCRIBE_LINK;

    fn filled(version: &TemplateVersion, lane: MailLane, brand: Value) -> FilledMail {
        let brand = serde_json::from_value(brand).unwrap();
        let member = serde_json::from_value(json!({"brand_id": "tea", "email": "ann@example.net"})).unwrap();
        let of_merchant = Locale { setting: Some("de"), country: "DE" };
        let filling = Filling { user: Map::new(), link_to_pass: None, of_merchant };
        FilledMail::of(version, lane, (&brand, &member), filling, |path| {
            format!("https://post.example/{path}")
        })
    }

    #[test]
    fn a_mail_of_a_batch_can_be_unsubscribed_from_unless_its_template_says_what_it_is_for() {
        use TemplateClass::{Promotional, Transactional};
        for (class, lane, has_link) in [
            (None, MailLane::Transactional, false),
            (None, MailLane::Bulk, true),
            (Some(Promotional), MailLane::Transactional, true),
            (Some(Transactional), MailLane::Bulk, false),
        ] {
            let version = TemplateVersion { class, ..TemplateVersion::sample(&[], None) };
            let brand = json!({"name": "Tea", "sender": {"email": "hi@tea.example"}});
            let filled = filled(&version, lane, brand);
            assert_eq!(filled.values.contains_key(UNSUBSCRIBE_LINK), has_link, "{class:?} {lane}");
            assert_eq!(
                (&filled.values["email"], &filled.values["language"]),
                (&json!("ann@example.net"), &json!("de"))
            );
        }
    }

    #[test]
    fn answers_go_to_the_reply_to_of_the_brand_or_to_where_it_answers_shoppers() {
        for (reply_to, support, answers) in [
            (None, None, None),
            (None, Some("help@tea.example"), Some("help@tea.example")),
            (Some("us@tea.example"), Some("help@tea.example"), Some("us@tea.example")),
        ] {
            let mut brand = json!({"name": "Tea", "sender": {"email": "hi@tea.example"}});
            for (field, address) in [("reply_to", reply_to), ("support_email", support)] {
                address.into_iter().for_each(|address| brand[field] = json!(address));
            }
            let filled = filled(&TemplateVersion::sample(&[], None), MailLane::Bulk, brand);
            assert_eq!(filled.sender.email.to_string(), "hi@tea.example");
            assert_eq!(filled.reply_to.map(|reply_to| reply_to.email.to_string()).as_deref(), answers);
        }
    }
}
