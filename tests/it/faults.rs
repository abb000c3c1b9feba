//! What the machine does to a log: calls that fail, disks that are full, power that goes.

mod calls;
mod full_disk;
mod inject;
mod power;
mod script;
