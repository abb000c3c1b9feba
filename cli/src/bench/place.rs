//! The directory that the work is done in: it is gone at the end, whatever the end is.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::Failure;

/// A new directory, removed when it is dropped or a signal ends the process.
pub(super) struct Place {
    path: PathBuf,
    /// A signal came.
    ending: Arc<AtomicBool>,
}

impl Place {
    pub(super) fn make(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(format!("maplog-bench-{}", std::process::id()));
        let fault = |error: std::io::Error| {
            Failure::io(path.display(), &error)
                .after("name a directory that this user may write to")
        };
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(fault)?;
        fs::create_dir(&path).map_err(fault)?;
        let place = Place { path, ending: Arc::default() };
        let (doomed, ending) = (place.path.clone(), place.ending.clone());
        thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                ending.store(true, Ordering::SeqCst);
                // The work goes on beside this, and may put files where some were removed.
                while doomed.exists() {
                    let _tried_again = fs::remove_dir_all(&doomed);
                }
                let _default_is_to_end = emulate_default_handler(signal);
            }
        });
        Ok(place)
    }

    /// The failure, if it is one, and not the work's missing what a signal took away: then the process is
    /// about to end by that signal.
    pub(super) fn meant(&self, failure: Failure) -> Failure {
        while self.ending.load(Ordering::SeqCst) {
            thread::park();
        }
        failure
    }

    /// A path in it for one use.
    pub(super) fn named(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(super) fn remove(self) -> Result<(), Failure> {
        let removed = fs::remove_dir_all(&self.path);
        removed.map_err(|error| Failure::io(self.path.display(), &error))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _removed_already = fs::remove_dir_all(&self.path);
    }
}
