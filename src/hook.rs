//! Names for the places where tests stop a process; nothing at all outside this crate's own tests.
//! Also the mutants: builds with `--cfg maplog_break="..."`, each of which leaves out one thing that a
//! guarantee rests on, so that the tests can show that they notice.

/// A place between two stores or calls where a test may kill the process.
#[cfg(test)]
macro_rules! hook {
    ($name:literal) => {
        crate::hook::reached($name)
    };
}
#[cfg(not(test))]
macro_rules! hook {
    ($name:literal) => {};
}

/// A call that changed what a power cut would leave: for a test that keeps record of it.
#[cfg(test)]
macro_rules! changed {
    ($change:expr) => {
        crate::hook::tell($change)
    };
}
#[cfg(not(test))]
macro_rules! changed {
    ($change:expr) => {};
}

/// True in the build that leaves the named thing out.
macro_rules! broken {
    ($what:literal) => {
        cfg!(maplog_break = $what)
    };
}

/// The environment variable that names the hook to die at, as `name` or `name:count`.
#[cfg(test)]
pub(crate) const KILL_AT: &str = "MAPLOG_TEST_KILL_AT";

/// What a listener is told of, after it happened.
#[cfg(test)]
#[derive(Clone, Copy)]
pub(crate) enum Change<'a> {
    /// A hook was reached: bytes may have been stored.
    Hook(&'static str),
    Created {
        name: &'a str,
        file: &'a crate::dir::File,
    },
    Renamed {
        from: &'a str,
        to: &'a str,
    },
    Removed {
        name: &'a str,
    },
    Allocated,
    /// Bytes and size of the file are on stable storage.
    DataSynced {
        file: &'a crate::dir::File,
    },
    /// The names in the log's directory are on stable storage.
    NamesSynced,
    /// The directory's own name is on stable storage.
    ParentSynced,
}

#[cfg(test)]
pub(crate) type Listener = std::rc::Rc<dyn Fn(Change<'_>)>;

#[cfg(test)]
thread_local! {
    static LISTENER: std::cell::RefCell<Option<Listener>> = const { std::cell::RefCell::new(None) };
}

/// From now on `listener` is told of what this thread does to logs; it must not change any.
#[cfg(test)]
pub(crate) fn listen(listener: Option<Listener>) {
    LISTENER.set(listener);
}

/// Does `then` in this thread when it first reaches the hook in `work`.
#[cfg(test)]
pub(crate) fn once_at<T>(
    hook: &'static str,
    then: impl Fn() + 'static,
    work: impl FnOnce() -> T,
) -> T {
    let first = std::cell::Cell::new(true);
    listen(Some(std::rc::Rc::new(move |change: Change<'_>| {
        if matches!(change, Change::Hook(name) if name == hook) && first.take() {
            then();
        }
    })));
    let done = work();
    listen(None);
    done
}

#[cfg(test)]
pub(crate) fn tell(change: Change<'_>) {
    let listener = LISTENER.try_with(|listener| listener.borrow().clone());
    if let Ok(Some(listener)) = listener {
        listener(change);
    }
}

/// Kills the process by SIGKILL at the hook, and the time, that the environment names.
#[cfg(test)]
pub(crate) fn reached(name: &'static str) {
    tell(Change::Hook(name));
    die_if_wanted(name);
}

#[cfg(test)]
fn die_if_wanted(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static TIMES: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let wanted = std::env::var(KILL_AT).ok()?;
        let (name, count) = wanted.split_once(':').unwrap_or((&wanted, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    });
    if let Some((wanted, count)) = wanted
        && wanted == name
        && TIMES.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_secs(60));
    }
}
