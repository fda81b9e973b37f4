//! What the handles of a feed share.

use std::sync::Arc;

use super::core::Core;

/// Shared by the handles of a feed alone. The feed ends when it is dropped.
pub(crate) struct Handle<T> {
    core: Arc<Core<T>>,
}

impl<T> Handle<T> {
    pub(crate) fn new(core: Arc<Core<T>>) -> Self {
        Self { core }
    }

    pub(crate) fn core(&self) -> &Arc<Core<T>> {
        &self.core
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.core.close();
    }
}
