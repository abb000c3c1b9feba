//! The kernel's byte-range locks that belong to an open file description (fcntl(2), `F_OFD_SETLK`).
//!
//! They go with the last descriptor or mapping of that description, however its process dies: that
//! is how a log knows who is alive, and why nothing needs cleaning up. No lock is ever converted.
//! Does not know: what the bytes stand for.
#![allow(unsafe_code)]

use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;

use crate::dir::File;

/// Takes bytes `range` exclusively if nobody else holds any; says whether it did.
pub(crate) fn try_lock(file: &File, range: Range<i64>) -> io::Result<bool> {
    match ofd(file, libc::F_OFD_SETLK, libc::F_WRLCK, range) {
        Ok(_) => Ok(true),
        Err(error) if is_held(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives bytes `range` back.
pub(crate) fn unlock(file: &File, range: Range<i64>) -> io::Result<()> {
    ofd(file, libc::F_OFD_SETLK, libc::F_UNLCK, range).map(drop)
}

/// True if another description holds any of `range`.
pub(crate) fn is_locked(file: &File, range: Range<i64>) -> io::Result<bool> {
    let found = ofd(file, libc::F_OFD_GETLK, libc::F_WRLCK, range)?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

/// POSIX lets either errno say that another holds the lock.
fn is_held(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES))
}

fn ofd(file: &File, command: i32, kind: i32, range: Range<i64>) -> io::Result<libc::flock> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start,
        // Zero would mean "to the end of the file and beyond"; no caller passes an empty range.
        l_len: range.end - range.start,
        l_pid: 0,
    };
    loop {
        // SAFETY: the descriptor is open while `file` is borrowed, and `lock` is the `struct flock`
        // that these commands read and write.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) };
        if done == 0 {
            return Ok(lock);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_held_through_one_description_is_refused_to_another() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("lock");
        let one = File::create(&path)?;
        let two = File::options().write(true).read(true).open(&path)?;
        assert!(try_lock(&one, 3..4)?);
        assert!(!try_lock(&two, 3..4)?);
        assert!(try_lock(&two, 4..5)?);
        assert!(is_locked(&two, 1..1000)?);
        unlock(&one, 3..4)?;
        assert!(!is_locked(&two, 1..4)?);
        drop(two);
        assert!(!is_locked(&one, 1..1000)?);
        Ok(())
    }
}
