//! The kinds of things that merchants' systems tell postroom about.

use crate::mail::closed_set;

closed_set! {
    /// A kind of document, by the name its path has.
    ResourceKind {
        /// Subscriptions of the cart-link family.
        Subscriptions = "subscriptions",
        /// Carts of the abandoned-cart family.
        AbandonedCarts = "abandoned-carts",
        /// Orders of the order e-mail family.
        Orders = "orders",
        /// Brands of the mailing family.
        Brands = "brands",
        /// Templates of the mailing family.
        Templates = "templates",
        /// Members of the mailing family.
        Members = "members",
        /// Coupons of the mailing family.
        Coupons = "coupons",
        /// Store cards of the mailing family.
        Storecards = "storecards",
        /// Store settings of the order e-mail family.
        Stores = "stores",
        /// Pieces that templates share.
        Partials = "partials",
    }
}

impl ResourceKind {
    /// What one of them is called at the beginning of a sentence.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Subscriptions => "Subscription",
            Self::AbandonedCarts => "Abandoned cart",
            Self::Orders => "Order",
            Self::Brands => "Brand",
            Self::Templates => "Template",
            Self::Members => "Member",
            Self::Coupons => "Coupon",
            Self::Storecards => "Store card",
            Self::Stores => "Store",
            Self::Partials => "Partial",
        }
    }

    /// Whether it says how mails look or who sends them; the others are data that mails are about.
    pub const fn is_definition(self) -> bool {
        matches!(self, Self::Brands | Self::Templates | Self::Stores | Self::Partials)
    }

    /// Whether each change of it is kept as a version.
    pub const fn has_versions(self) -> bool {
        matches!(self, Self::Templates | Self::Partials)
    }
}
