//! Taking files out of the log: copied, synced, and only then removed.
//!
//! Does not know: why.

use std::io;
use std::path::Path;

use super::{MODE, SetAside, Why};
use crate::dir::{self, Dir};
use crate::format::name::SHARED;
use crate::shared::Page;

pub(super) fn new_folder(log: &Path) -> io::Result<Dir> {
    for number in 1_u32.. {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".quarantine-{number}"));
        if Dir::create_new_dir(Path::new(&name), MODE)? {
            return Dir::open(Path::new(&name));
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Copies first, all of them, and only when they are on stable storage takes out the first.
pub(super) fn move_to(log: &Dir, folder: &Dir, files: &[SetAside]) -> io::Result<()> {
    for file in files.iter().filter(|file| file.why != Why::NotAFile) {
        copy(log, folder, &file.name)?;
        hook!("repair.copied");
    }
    folder.sync()?;
    // What cuts a segment is there for good before the segment goes.
    log.sync()?;
    let page = match log.is_regular(SHARED) {
        Ok(true) => Some(Page::open(log, MODE)?),
        _ => None,
    };
    for file in files {
        let take_out = || match file.why {
            Why::NotAFile => log.move_new(&file.name, folder, &free_name(folder, &file.name)?),
            _ => log.remove(&file.name),
        };
        match &page {
            Some(page) => page.changing_names(take_out)?,
            None => take_out()?,
        }
        hook!("repair.removed");
    }
    folder.sync()?;
    log.sync()
}

/// A copy has its name when it is whole and on stable storage.
fn copy(log: &Dir, folder: &Dir, name: &str) -> io::Result<()> {
    let part = free_name(folder, &format!("{name}.part"))?;
    let from = log.open_to_read(name)?;
    let copied = folder.create_new(&part, MODE).and_then(|to| {
        dir::copy(&from, &to)?;
        hook!("repair.copied_in_part");
        dir::sync_data(&to)?;
        folder.rename_new(&part, &free_name(folder, name)?)
    });
    copied.inspect_err(|_| {
        // The error that counts is the first, and the file is still in the log.
        let _left_over = folder.remove_if_there(&part);
    })
}

/// `name`, or with a number behind it if that is taken.
fn free_name(folder: &Dir, name: &str) -> io::Result<String> {
    let mut free = name.to_owned();
    let mut number = 1_u32;
    while folder.holds(&free)? {
        number += 1;
        free = format!("{name}.{number}");
    }
    Ok(free)
}
