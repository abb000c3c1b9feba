//! Finding records: by number, backwards, by content, by time; always what a full walk gives.

mod hostile;
mod items;
mod many;
mod points;
