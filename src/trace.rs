//! What an application may watch, by the feature `tracing`: openings, recoveries, segments, syncs, poison,
//! retention, takeovers. Nothing at all without it, and nothing for a record in any case.

/// Something that happened: a level, fields, a sentence.
#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($what:tt)+) => {
        ::tracing::event!(target: "maplog", ::tracing::Level::$level, $($what)+)
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($what:tt)+) => {};
}

/// A span from here to the end of the block: a level, a name, fields.
#[cfg(feature = "tracing")]
macro_rules! span {
    ($level:ident, $($what:tt)+) => {
        let _span = ::tracing::span!(target: "maplog", ::tracing::Level::$level, $($what)+).entered();
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! span {
    ($($what:tt)+) => {};
}
