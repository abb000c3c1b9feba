//! The kernel's message queues.

use std::ffi::c_long;
use std::io;

use super::{End, Missing, Side, Way, missing};
use crate::plan::Plan;
use crate::sweeper::{promised_key, promised_name};

/// What a queue is asked to hold, as much as a pipe.
const QUEUE_BYTES: usize = 1 << 20;

/// A System V queue, removed by the process that made it.
struct SystemVQueue {
    id: i32,
    bytes: usize,
}

#[allow(unsafe_code)]
impl SystemVQueue {
    fn new() -> io::Result<Self> {
        let key = promised_key("msg");
        // SAFETY: the calls take numbers, and a structure of plain numbers that the system fills.
        unsafe {
            let id = libc::msgget(key, libc::IPC_CREAT | libc::IPC_EXCL | 0o600);
            if id < 0 {
                return Err(io::Error::last_os_error());
            }
            let mut queue = SystemVQueue { id, bytes: 0 };
            let mut state: libc::msqid_ds = std::mem::zeroed();
            libc::msgctl(id, libc::IPC_STAT, &mut state);
            state.msg_qbytes = QUEUE_BYTES as libc::msglen_t;
            // More than kernel.msgmnb is for the privileged; else it stays as it is.
            libc::msgctl(id, libc::IPC_SET, &mut state);
            libc::msgctl(id, libc::IPC_STAT, &mut state);
            queue.bytes = state.msg_qbytes as usize;
            Ok(queue)
        }
    }
}

#[allow(unsafe_code)]
impl Drop for SystemVQueue {
    fn drop(&mut self) {
        // SAFETY: the call takes numbers.
        unsafe { libc::msgctl(self.id, libc::IPC_RMID, std::ptr::null_mut()) };
    }
}

pub struct SystemV([SystemVQueue; 2]);

impl Way for SystemV {
    type End = SystemVEnd;

    fn open(_plan: &Plan) -> Result<Self, Missing> {
        let queue = || SystemVQueue::new().map_err(missing("msgget"));
        Ok(SystemV([queue()?, queue()?]))
    }

    fn settings(&self) -> String {
        format!("msg_qbytes {} KiB", self.0[0].bytes >> 10)
    }

    fn into_end(self, side: Side, plan: &Plan) -> SystemVEnd {
        let [there, back] = self.0;
        let (sends, receives) = match side {
            Side::First => (there, back),
            Side::Second => (back, there),
        };
        SystemVEnd { sends, receives, buffer: vec![0; 2 + plan.size / TYPE_BYTES].into() }
    }
}

/// A message has its type in front.
const TYPE_BYTES: usize = size_of::<c_long>();

pub struct SystemVEnd {
    sends: SystemVQueue,
    receives: SystemVQueue,
    /// A type, a message and some bytes more, so that one that is too long is not refused unseen.
    buffer: Box<[c_long]>,
}

#[allow(unsafe_code)]
impl SystemVEnd {
    fn receive(&mut self, flags: i32, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let room = (self.buffer.len() - 1) * TYPE_BYTES;
        // SAFETY: the buffer has room for a type and as many bytes as the call is told.
        let bytes = unsafe {
            libc::msgrcv(self.receives.id, self.buffer.as_mut_ptr().cast(), room, 0, flags)
        };
        if bytes < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the system wrote that many bytes behind the type, and any bytes are bytes.
        take(unsafe {
            std::slice::from_raw_parts(self.buffer.as_ptr().add(1).cast::<u8>(), bytes as usize)
        });
        Ok(())
    }
}

#[allow(unsafe_code)]
impl End for SystemVEnd {
    fn send(&mut self, message: &[u8]) {
        self.buffer[0] = 1;
        let place = self.buffer[1..].as_mut_ptr().cast::<u8>();
        assert!(message.len() <= (self.buffer.len() - 1) * TYPE_BYTES);
        // SAFETY: the message fits behind the type, as was just checked.
        let sent = unsafe {
            place.copy_from_nonoverlapping(message.as_ptr(), message.len());
            libc::msgsnd(self.sends.id, self.buffer.as_ptr().cast(), message.len(), 0)
        };
        assert_eq!(sent, 0, "{}", io::Error::last_os_error());
    }

    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        match self.receive(libc::IPC_NOWAIT, take) {
            Err(error) if error.raw_os_error() == Some(libc::ENOMSG) => 0,
            received => received.map(|()| 1).expect("a queue"),
        }
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        self.receive(0, take).map(|()| 1).expect("a queue")
    }
}

/// A POSIX queue, opened for each direction by itself: not waiting belongs to an opening.
struct PosixQueue {
    sender: libc::mqd_t,
    receiver: libc::mqd_t,
    messages: usize,
}

#[allow(unsafe_code)]
impl PosixQueue {
    fn new(plan: &Plan) -> io::Result<Self> {
        let hard = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the call reads one structure. Denied to most; then it stays as it is.
        unsafe { libc::setrlimit(libc::RLIMIT_MSGQUEUE, &hard) };
        let limit = std::fs::read_to_string("/proc/sys/fs/mqueue/msg_max").unwrap_or_default();
        let limit = limit.trim().parse().unwrap_or(10);
        let mut error = None;
        // More than the limit is for the privileged.
        for messages in [QUEUE_BYTES / plan.size, limit, 10] {
            match Self::open(messages, plan) {
                Ok(queue) => return Ok(queue),
                Err(refused) => error = Some(refused),
            }
        }
        Err(error.expect("a number was tried"))
    }

    fn open(messages: usize, plan: &Plan) -> io::Result<Self> {
        let name = promised_name("mq");
        let waits = if plan.measure.only_looks() { libc::O_NONBLOCK } else { 0 };
        // SAFETY: the name ends in zero, and the attributes are plain numbers that the call reads.
        unsafe {
            let mut attributes: libc::mq_attr = std::mem::zeroed();
            attributes.mq_maxmsg = messages as c_long;
            attributes.mq_msgsize = plan.size as c_long;
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
            let sender = libc::mq_open(name.as_ptr(), flags, 0o600, &attributes);
            if sender < 0 {
                return Err(io::Error::last_os_error());
            }
            let receiver = libc::mq_open(name.as_ptr(), libc::O_RDONLY | waits);
            let error = io::Error::last_os_error();
            libc::mq_unlink(name.as_ptr());
            if receiver < 0 {
                return Err(error);
            }
            Ok(PosixQueue { sender, receiver, messages })
        }
    }
}

pub struct Posix([PosixQueue; 2]);

impl Way for Posix {
    type End = PosixEnd;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        let queue = || PosixQueue::new(plan).map_err(missing("mq_open"));
        Ok(Posix([queue()?, queue()?]))
    }

    fn settings(&self) -> String {
        format!("mq_maxmsg {}", self.0[0].messages)
    }

    fn into_end(self, side: Side, plan: &Plan) -> PosixEnd {
        let [there, back] = self.0;
        let (sends, receives) = match side {
            Side::First => (there, back),
            Side::Second => (back, there),
        };
        PosixEnd { sends, receives, buffer: vec![0; plan.size].into() }
    }
}

pub struct PosixEnd {
    sends: PosixQueue,
    receives: PosixQueue,
    /// A longer message than the queue was made for cannot be sent.
    buffer: Box<[u8]>,
}

#[allow(unsafe_code)]
impl PosixEnd {
    fn receive(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let (place, room) = (self.buffer.as_mut_ptr().cast(), self.buffer.len());
        // SAFETY: the buffer has as much room as the call is told.
        let bytes =
            unsafe { libc::mq_receive(self.receives.receiver, place, room, std::ptr::null_mut()) };
        if bytes < 0 {
            return Err(io::Error::last_os_error());
        }
        take(&self.buffer[..bytes as usize]);
        Ok(())
    }
}

#[allow(unsafe_code)]
impl End for PosixEnd {
    fn send(&mut self, message: &[u8]) {
        // SAFETY: the message is as long as the call is told.
        let sent =
            unsafe { libc::mq_send(self.sends.sender, message.as_ptr().cast(), message.len(), 0) };
        assert_eq!(sent, 0, "{}", io::Error::last_os_error());
    }

    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        match self.receive(take) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            received => received.map(|()| 1).expect("a queue"),
        }
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        self.receive(take).map(|()| 1).expect("a queue")
    }
}
