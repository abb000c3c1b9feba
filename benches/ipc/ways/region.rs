//! Memory that two processes share, by the three calls that give it. It stays mapped until the
//! process ends, and has no name by the time it is used.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, Mode};
use rustix::mm::Advice;
use rustix::shm::OFlags;

use crate::plan::Plan;
use crate::sweeper::{promised_key, promised_name};

/// Bytes that both processes may read and write; who may when is for the way to say.
#[derive(Clone, Copy)]
pub struct Region {
    base: *mut u8,
    bytes: usize,
}

impl Region {
    /// An allocated file on the file system of the build.
    pub fn in_file(plan: &Plan, bytes: usize) -> io::Result<Self> {
        let path = plan.dir.join("ring");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        std::fs::remove_file(path)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
        Ok(Self::of(MmapOptions::new().len(bytes).map_raw(&file)?))
    }

    /// `shm_open`.
    pub fn in_posix(bytes: usize) -> io::Result<Self> {
        let name = promised_name("shm_open");
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        let file: OwnedFd = rustix::shm::open(&*name, flags, Mode::RUSR | Mode::WUSR)?;
        rustix::shm::unlink(&*name)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
        Ok(Self::of(MmapOptions::new().len(bytes).map_raw(&file)?))
    }

    /// `shmget` and `shmat`.
    #[allow(unsafe_code)]
    pub fn in_system_v(bytes: usize) -> io::Result<Self> {
        let key = promised_key("shm");
        // SAFETY: the calls take numbers; the system chooses where to attach. The segment lives on
        // without its key until the last process that has it attached ends.
        unsafe {
            let id = libc::shmget(key, bytes, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
            if id < 0 {
                return Err(io::Error::last_os_error());
            }
            let base = libc::shmat(id, std::ptr::null(), 0);
            let error = io::Error::last_os_error();
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            if base.addr() == usize::MAX {
                return Err(error);
            }
            Ok(Region { base: base.cast(), bytes })
        }
    }

    fn of(map: MmapRaw) -> Self {
        let region = Region { base: map.as_mut_ptr(), bytes: map.len() };
        std::mem::forget(map);
        region
    }

    /// Puts every page into this process's page table.
    #[allow(unsafe_code)]
    pub fn touch(&self) {
        // SAFETY: the range is that of the mapping, and populating it changes no byte.
        let touched = unsafe {
            rustix::mm::madvise(self.base.cast(), self.bytes, Advice::LinuxPopulateWrite)
        };
        touched.expect("pages (Linux 5.14)");
    }

    /// Where `bytes` bytes from `at` on lie.
    #[inline]
    pub fn at(&self, at: usize, bytes: usize) -> *mut u8 {
        assert!(at <= self.bytes && bytes <= self.bytes - at, "{at} lies in the region");
        // SAFETY: `at` was just checked to lie in the mapping.
        #[allow(unsafe_code)]
        unsafe {
            self.base.add(at)
        }
    }

    /// The eight bytes at `at`, as a word that both processes use atomically.
    #[inline]
    #[allow(unsafe_code)]
    pub fn word(&self, at: usize) -> &'static AtomicU64 {
        assert!(at.is_multiple_of(8));
        // SAFETY: the word lies in the region and is aligned, since mappings start on a page; the
        // mapping is never removed, and the ways name no word that they use otherwise.
        unsafe { AtomicU64::from_ptr(self.at(at, 8).cast()) }
    }
}
