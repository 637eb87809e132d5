//! What the pages work with: the components of the process, and who looks at what.

use std::sync::Arc;

use super::hub::Hub;
use crate::app::App;

/// What the pages work with.
pub(super) struct DashboardState {
    /// The components.
    pub(super) app: Arc<App>,
    /// Who looks at what.
    pub(super) hub: Arc<Hub>,
}

impl DashboardState {
    /// Nobody looks yet.
    pub(super) fn new(app: Arc<App>) -> Arc<Self> {
        Arc::new(Self { app, hub: Arc::default() })
    }
}
