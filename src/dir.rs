//! A log's directory and the files in it: create, allocate, list, rename, remove, read, write, sync.
//!
//! Only it may name `std::fs`. Every file is reached through the directory's descriptor, so that a
//! directory renamed under a handle is still the same log. Does not know: what the files hold.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FallocateFlags, Mode, OFlags, RenameFlags, StatxFlags};
use rustix::io::retry_on_intr;
use rustix::process::Resource;

use crate::format::{PAGE_BYTES, round_up};

pub(crate) use std::fs::File;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What tells one directory from all others that exist now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Dir {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = retry_on_intr(|| rustix::fs::open(path, flags, Mode::empty()))?;
        Ok(Dir { fd, path: path.to_owned() })
    }

    /// Makes the directory, unless it exists. `mode` is that of the log's files; who may read them
    /// may also list the directory.
    pub(crate) fn create(path: &Path, mode: u32) -> io::Result<()> {
        Self::create_new_dir(path, mode).map(drop)
    }

    /// Makes the directory; false if something of its name exists.
    pub(crate) fn create_new_dir(path: &Path, mode: u32) -> io::Result<bool> {
        match retry_on_intr(|| rustix::fs::mkdir(path, folder_mode(mode))) {
            Err(rustix::io::Errno::EXIST) => Ok(false),
            made => Ok(made.map(|()| true)?),
        }
    }

    /// Puts the directory's own name on stable storage, so that a power cut cannot take it whole.
    pub(crate) fn sync_parent(&self) -> io::Result<()> {
        if broken!("no_directory_sync") {
            return Ok(());
        }
        let parent = self.open_raw("..", OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        retry_on_intr(|| rustix::fs::fsync(&parent))?;
        changed!(crate::hook::Change::ParentSynced);
        Ok(())
    }

    /// The folder `name` in this directory; `None` if there is none.
    pub(crate) fn folder(&self, name: &str) -> io::Result<Option<Dir>> {
        match self.open_raw(name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, 0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => Ok(Some(Dir { fd: opened?, path: self.path.join(name) })),
        }
    }

    /// Makes the folder `name` unless it exists. `mode` as for `create`.
    pub(crate) fn make_folder(&self, name: &str, mode: u32) -> io::Result<()> {
        match retry_on_intr(|| rustix::fs::mkdirat(&self.fd, name, folder_mode(mode))) {
            Err(rustix::io::Errno::EXIST) => Ok(()),
            made => Ok(made?),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn identity(&self) -> io::Result<Identity> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
    }

    /// The directory's file system, if it is one that does not show a mapping what another machine stores.
    pub(crate) fn incoherent_filesystem(&self) -> io::Result<Option<&'static str>> {
        let magic = rustix::fs::fstatfs(&self.fd)?.f_type as u64;
        let known = INCOHERENT.iter().find(|(of, _)| *of == magic & u64::from(u32::MAX));
        Ok(known.map(|(_, name)| *name))
    }

    /// The names in the directory, each once or more, in no order. Names that are not UTF-8 are
    /// none of ours and left out. One pass sees a directory that changes meanwhile in no one state.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in retry_on_intr(|| rustix::fs::Dir::read_from(&self.fd))? {
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn open_raw(&self, name: &str, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let (flags, mode) = (flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode));
        Ok(retry_on_intr(|| rustix::fs::openat(&self.fd, name, flags, mode))?)
    }

    pub(crate) fn open_to_read(&self, name: &str) -> io::Result<File> {
        // A FIFO in a segment's place must not make its opener wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        regular(self.open_raw(name, flags, 0)?)
    }

    pub(crate) fn open_to_write(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        regular(self.open_raw(name, flags, 0)?)
    }

    /// Opens `name` for writing and makes it first if it does not exist.
    pub(crate) fn open_or_create(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        regular(self.open_raw(name, flags, mode)?)
    }

    /// Makes `name`, which must not exist.
    pub(crate) fn create_new(&self, name: &str, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let file = self.open_raw(name, flags, mode)?.into();
        changed!(crate::hook::Change::Created { name, file: &file });
        Ok(file)
    }

    /// Gives `from` the name `to`, which must not exist.
    pub(crate) fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.move_new(from, self, to)
    }

    /// Moves `from` to `folder`, under the name `to`, which must not exist there.
    pub(crate) fn move_new(&self, from: &str, folder: &Dir, to: &str) -> io::Result<()> {
        let (fd, there, flags) = (&self.fd, &folder.fd, RenameFlags::NOREPLACE);
        match retry_on_intr(|| rustix::fs::renameat_with(fd, from, there, to, flags)) {
            // File systems without the flag: a link never replaces either.
            Err(rustix::io::Errno::INVAL) => {
                retry_on_intr(|| rustix::fs::linkat(fd, from, there, to, AtFlags::empty()))?;
                // The file has its name, whatever becomes of the old one: an error would deny it.
                let _left_over = self.remove(from);
            }
            other => other?,
        }
        changed!(crate::hook::Change::Renamed { from, to });
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        retry_on_intr(|| rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()))?;
        changed!(crate::hook::Change::Removed { name });
        Ok(())
    }

    /// As [`remove`](Self::remove); a file that does not exist is as good as removed.
    pub(crate) fn remove_if_there(&self, name: &str) -> io::Result<()> {
        match self.remove(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// The size of the file `name`, in bytes.
    pub(crate) fn bytes_of(&self, name: &str) -> io::Result<u64> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stat.st_size as u64)
    }

    /// True if there is a regular file of that name; it is an error if there is nothing.
    pub(crate) fn is_regular(&self, name: &str) -> io::Result<bool> {
        let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file())
    }

    /// True if there is anything of that name.
    pub(crate) fn holds(&self, name: &str) -> io::Result<bool> {
        match self.bytes_of(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            other => other.map(|_| true),
        }
    }

    /// True if `name` still leads to `file`.
    pub(crate) fn leads_to(&self, name: &str, file: &File) -> io::Result<bool> {
        let here = match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(rustix::io::Errno::NOENT) => return Ok(false),
            other => other?,
        };
        let open = rustix::fs::fstat(file)?;
        Ok((here.st_dev, here.st_ino) == (open.st_dev, open.st_ino))
    }

    /// Puts names that were given or taken on stable storage.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if broken!("no_directory_sync") {
            return Ok(());
        }
        retry_on_intr(|| rustix::fs::fsync(&self.fd))?;
        changed!(crate::hook::Change::NamesSynced);
        Ok(())
    }
}

/// The mode of a directory for files of `mode`: who may read those may list it.
fn folder_mode(mode: u32) -> Mode {
    let may_list = (mode & 0o444) >> 2;
    Mode::from_raw_mode(mode | may_list | 0o700)
}

/// File systems of other machines, by what `statfs` calls them (linux/magic.h, statfs(2)).
const INCOHERENT: [(u64, &str); 8] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x7375_7245, "Coda"),
];

fn regular(fd: OwnedFd) -> io::Result<File> {
    let file = File::from(fd);
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::IsADirectory, "not a regular file"))
    }
}

/// The file's size in bytes, as `fstat` says.
pub(crate) fn file_bytes(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

/// The file's permission bits.
pub(crate) fn mode(file: &File) -> io::Result<u32> {
    Ok(rustix::fs::fstat(file)?.st_mode & 0o777)
}

pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
}

/// Reads into `buffer` until it is full or the file ends; says how much it got.
pub(crate) fn read_at(file: &File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match file.read_at(&mut buffer[got..], at + got as u64) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

/// Copies all bytes of a file to the start of another.
pub(crate) fn copy(mut from: &File, mut to: &File) -> io::Result<()> {
    io::copy(&mut from, &mut to).map(drop)
}

/// The first stretch of the file, from `from` on, that is not a hole; `None` if only a hole follows.
/// File systems that know no holes call everything data (lseek(2), `SEEK_DATA`).
pub(crate) fn data_from(file: &File, from: u64) -> io::Result<Option<Range<u64>>> {
    use rustix::fs::SeekFrom::{Data, Hole};
    let start = match rustix::fs::seek(file, Data(from)) {
        Err(rustix::io::Errno::NXIO) => return Ok(None),
        Err(rustix::io::Errno::INVAL) => {
            let end = file_bytes(file)?;
            return Ok((from < end).then_some(from..end));
        }
        other => other?,
    };
    Ok(Some(start..rustix::fs::seek(file, Hole(start))?))
}

pub(crate) fn write_at(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    if passes_size_limit(at + bytes.len() as u64) {
        return Err(rustix::io::Errno::FBIG.into());
    }
    file.write_all_at(bytes, at)
}

/// True if the process may not write so far into a file: trying to raises SIGXFSZ, even where the file
/// is that long already (getrlimit(2)).
fn passes_size_limit(to: u64) -> bool {
    rustix::process::getrlimit(Resource::Fsize).current.is_some_and(|limit| to > limit)
}

/// Puts a file's bytes, and what is needed to find them, on stable storage.
pub(crate) fn sync_data(file: &File) -> io::Result<()> {
    retry_on_intr(|| rustix::fs::fdatasync(file))?;
    changed!(crate::hook::Change::DataSynced { file });
    Ok(())
}

/// Makes sure that storing to bytes `from..to` of the file can never want for room: they are
/// allocated, the file reaches to `to`, and bytes that were not there read as zero.
///
/// The file-size limit is compared first: what lies inside the file may be allocated whatever it is.
pub(crate) fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    if passes_size_limit(to) && to > file_bytes(file)? {
        return Err(rustix::io::Errno::FBIG.into());
    }
    match retry_on_intr(|| rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from)) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, from, to),
        other => {
            other?;
            changed!(crate::hook::Change::Allocated);
            Ok(())
        }
    }
}

/// True if the file has room of its own for its first `bytes` bytes. So that a file which was
/// allocated long ago needs nothing from a disk that is full now.
pub(crate) fn is_backed(file: &File, bytes: u64) -> io::Result<bool> {
    let stat = rustix::fs::fstat(file)?;
    // Blocks that it has may be others: of a hostile file, or of one that has a hole here.
    let starts_with = data_from(file, 0)?.is_some_and(|data| data.start == 0 && data.end >= bytes);
    let has_room = stat.st_blocks as u64 * STAT_BLOCK_BYTES >= bytes;
    Ok(stat.st_size as u64 >= bytes && has_room && starts_with)
}

/// The unit of `st_blocks` (stat(2)).
const STAT_BLOCK_BYTES: u64 = 512;

/// For file systems that cannot allocate. Pages that hold bytes are rewritten as they are, which
/// fills their holes; small writes, since a large one makes a large folio, and then each store to it
/// dirties all of it (measured: 1024 KiB written for a record of 100 bytes).
fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut page = [0; PAGE_BYTES as usize];
    let mut at = from;
    while at < to {
        let bytes = (round_up(at + 1, PAGE_BYTES).min(to) - at) as usize;
        page.fill(0);
        read_at(file, at, &mut page[..bytes])?;
        write_at(file, at, &page[..bytes])?;
        at += bytes as u64;
    }
    Ok(())
}

/// Where a file is and since when: with the boot, what tells the file from a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) boot_id: [u64; 2],
    pub(crate) mount_id: u64,
    pub(crate) inode: u64,
    pub(crate) birth_seconds: u64,
    pub(crate) birth_nanos: u64,
}

/// The mount's id that is never used again (Linux 6.8); older kernels give the reusable one.
const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

pub(crate) fn whereabouts(file: &File) -> io::Result<Whereabouts> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MNT_ID | STATX_MNT_ID_UNIQUE;
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, wanted)?;
    Ok(Whereabouts {
        boot_id: boot_id()?,
        mount_id: stat.stx_mnt_id,
        inode: stat.stx_ino,
        birth_seconds: stat.stx_btime.tv_sec as u64,
        birth_nanos: stat.stx_btime.tv_nsec.into(),
    })
}

/// The kernel draws it anew at every boot (random(4)).
fn boot_id() -> io::Result<[u64; 2]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16)
        .map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))?;
    Ok([(id >> u64::BITS) as u64, id as u64])
}

/// `N` bytes from the kernel's random source.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}
