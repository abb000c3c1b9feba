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

/// True in the build that leaves the named thing out.
macro_rules! broken {
    ($what:literal) => {
        cfg!(maplog_break = $what)
    };
}

/// The environment variable that names the hook to die at, as `name` or `name:count`.
#[cfg(test)]
pub(crate) const KILL_AT: &str = "MAPLOG_TEST_KILL_AT";

/// Kills the process by SIGKILL at the hook, and the time, that the environment names.
#[cfg(test)]
pub(crate) fn reached(name: &str) {
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
