//! The logs that a process has open, so that two handles on one directory are one log.
//!
//! Does not know: what a log is.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};

use crate::dir::{Dir, Identity};
use crate::map::{Birth, ProcessLocal};
use crate::monitor::Monitor;

/// What is open, by directory. A place is taken from before a log is opened until after it is closed.
pub(crate) struct Registry<T> {
    /// Told when a log was opened, or closed for good.
    places: Monitor<HashMap<Identity, Weak<T>>>,
}

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Registry { places: Monitor::new(HashMap::new()) }
    }
}

/// A directory's place in the registry, so that the process never meets its own lock.
pub(crate) struct Registered<T: 'static> {
    registry: &'static Registry<T>,
    identity: Identity,
    birth: Birth,
}

/// What there is at a place.
pub(crate) enum Entered<T: 'static> {
    Open(Arc<T>),
    Free(Registered<T>),
}

/// Takes the place of `dir`, or gives what is open there; waits while another thread opens or closes it.
pub(crate) fn enter<T: Send + Sync>(
    registries: &'static ProcessLocal<Registry<T>>,
    dir: &Dir,
) -> io::Result<Entered<T>> {
    let registry = registries.get()?;
    let birth = Birth::here()?;
    let identity = dir.identity()?;
    let mut places = registry.places.lock();
    loop {
        match places.get(&identity).map(Weak::upgrade) {
            Some(Some(open)) => return Ok(Entered::Open(open)),
            Some(None) => places = registry.places.wait(places),
            None => {
                places.insert(identity, Weak::new());
                return Ok(Entered::Free(Registered { registry, identity, birth }));
            }
        }
    }
}

impl<T> Registered<T> {
    /// Gives `open` to everyone who enters from now on.
    pub(crate) fn announce(&self, open: &Arc<T>) {
        self.registry.places.lock().insert(self.identity, Arc::downgrade(open));
        self.registry.places.tell();
    }
}

impl<T> Drop for Registered<T> {
    fn drop(&mut self) {
        if self.birth.is_this_process() {
            self.registry.places.lock().remove(&self.identity);
            self.registry.places.tell();
        }
    }
}
