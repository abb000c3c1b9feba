//! Streams of bytes: pipe, FIFO, Unix stream socket, TCP. Messages have one length, so none needs a
//! frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::{End, Missing, Side, Way, missing};
use crate::plan::Plan;

/// From a socket the reader takes as many messages at once as there are. From a pipe it takes one: who
/// takes all is always back too early, and its looking costs the writer more than it saves.
const SOCKET_READ_BYTES: usize = 64 * 1024;
pub const SOCKET_BYTES: usize = 4 << 20;

/// One side of a stream that goes both ways, or of two that go one way.
pub struct StreamEnd {
    sender: File,
    receiver: OwnedFd,
    is_socket: bool,
    buffer: Box<[u8]>,
    filled: usize,
    size: usize,
}

impl StreamEnd {
    fn new(sender: OwnedFd, receiver: OwnedFd, plan: &Plan) -> Self {
        let is_socket = rustix::net::sockopt::socket_type(&receiver).is_ok();
        let buffer = vec![0; if is_socket { SOCKET_READ_BYTES } else { plan.size }].into();
        // A socket has one set of flags for both directions, so reads say it one by one.
        if plan.measure.only_looks() && !is_socket {
            let flags = rustix::fs::fcntl_getfl(&receiver).expect("flags");
            rustix::fs::fcntl_setfl(&receiver, flags | OFlags::NONBLOCK).expect("flags");
        }
        StreamEnd { sender: sender.into(), receiver, is_socket, buffer, filled: 0, size: plan.size }
    }

    fn read(&mut self, flags: RecvFlags) -> rustix::io::Result<usize> {
        let room = &mut self.buffer[self.filled..];
        match self.is_socket {
            true => rustix::net::recv(&self.receiver, room, flags).map(|(bytes, _)| bytes),
            false => rustix::io::read(&self.receiver, room),
        }
    }

    fn take(&mut self, bytes: usize, take: &mut impl FnMut(&[u8])) -> u64 {
        assert!(bytes > 0, "the other side closed the stream");
        self.filled += bytes;
        let whole = self.filled - self.filled % self.size;
        self.buffer[..whole].chunks_exact(self.size).for_each(take);
        self.buffer.copy_within(whole..self.filled, 0);
        self.filled -= whole;
        (whole / self.size) as u64
    }
}

impl End for StreamEnd {
    fn send(&mut self, message: &[u8]) {
        self.sender.write_all(message).expect("room in the stream");
    }

    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        match self.read(RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => 0,
            read => self.take(read.expect("a stream that can be read"), take),
        }
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        let bytes = self.read(RecvFlags::empty()).expect("a stream that can be read");
        self.take(bytes, take)
    }
}

/// The sender and the receiver of one direction.
type Direction = (OwnedFd, OwnedFd);

/// Gives a side the sender of its direction and the receiver of the other, and closes the rest.
fn end_of([there, back]: [Direction; 2], side: Side, plan: &Plan) -> StreamEnd {
    match side {
        Side::First => StreamEnd::new(there.0, back.1, plan),
        Side::Second => StreamEnd::new(back.0, there.1, plan),
    }
}

/// Gives both directions as much room as an ordinary user may have.
fn enlarge(directions: &[Direction; 2]) -> usize {
    let limit = std::fs::read_to_string("/proc/sys/fs/pipe-max-size").unwrap_or_default();
    let limit = limit.trim().parse().unwrap_or(1 << 20);
    for (sender, _) in directions {
        // Denied to a user whose pipes take much room already; then it stays as it is.
        let _kept = rustix::pipe::fcntl_setpipe_size(sender, limit);
    }
    rustix::pipe::fcntl_getpipe_size(&directions[0].0).unwrap_or(0)
}

pub struct Pipe {
    directions: [Direction; 2],
    bytes: usize,
}

impl Way for Pipe {
    type End = StreamEnd;

    fn open(_plan: &Plan) -> Result<Self, Missing> {
        let pipe = || io::pipe().map(|(receiver, sender)| (sender.into(), receiver.into()));
        let directions = [pipe().map_err(missing("pipe"))?, pipe().map_err(missing("pipe"))?];
        let bytes = enlarge(&directions);
        Ok(Pipe { directions, bytes })
    }

    fn settings(&self) -> String {
        format!("{} KiB (F_SETPIPE_SZ)", self.bytes >> 10)
    }

    fn into_end(self, side: Side, plan: &Plan) -> StreamEnd {
        end_of(self.directions, side, plan)
    }
}

pub struct Fifo {
    directions: [Direction; 2],
    bytes: usize,
}

impl Fifo {
    fn direction(plan: &Plan) -> io::Result<Direction> {
        let path = plan.dir.join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR)?;
        // To open one end alone blocks, unless it is the reader's and says that it will not wait.
        let receiver = rustix::fs::open(&path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        let sender = OpenOptions::new().write(true).open(&path)?;
        rustix::fs::fcntl_setfl(&receiver, OFlags::empty())?;
        std::fs::remove_file(path)?;
        Ok((sender.into(), receiver))
    }
}

impl Way for Fifo {
    type End = StreamEnd;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        let direction = || Self::direction(plan).map_err(missing("mkfifo"));
        let directions = [direction()?, direction()?];
        let bytes = enlarge(&directions);
        Ok(Fifo { directions, bytes })
    }

    fn settings(&self) -> String {
        format!("{} KiB (F_SETPIPE_SZ)", self.bytes >> 10)
    }

    fn into_end(self, side: Side, plan: &Plan) -> StreamEnd {
        end_of(self.directions, side, plan)
    }
}

/// Buffers as large as asked for, or as the system lets them be; says what they are.
pub fn enlarge_socket(socket: impl AsFd) -> String {
    use rustix::net::sockopt;
    let _kept = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BYTES);
    let _kept = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES);
    let sends = sockopt::socket_send_buffer_size(&socket).unwrap_or(0);
    let receives = sockopt::socket_recv_buffer_size(&socket).unwrap_or(0);
    format!("SO_SNDBUF {} KiB, SO_RCVBUF {} KiB", sends >> 10, receives >> 10)
}

/// A stream that goes both ways, as one side holds it.
fn both_ways(stream: impl Into<OwnedFd>, plan: &Plan) -> StreamEnd {
    let stream = stream.into();
    StreamEnd::new(stream.try_clone().expect("a descriptor"), stream, plan)
}

pub struct Unix {
    sides: (UnixStream, UnixStream),
    settings: String,
}

impl Way for Unix {
    type End = StreamEnd;

    fn open(_plan: &Plan) -> Result<Self, Missing> {
        let sides = UnixStream::pair().map_err(missing("socketpair"))?;
        enlarge_socket(&sides.0);
        let settings = enlarge_socket(&sides.1);
        Ok(Unix { sides, settings })
    }

    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn into_end(self, side: Side, plan: &Plan) -> StreamEnd {
        match side {
            Side::First => both_ways(self.sides.0, plan),
            Side::Second => both_ways(self.sides.1, plan),
        }
    }
}

pub struct Tcp {
    sides: (TcpStream, TcpStream),
    settings: String,
}

impl Tcp {
    fn connect(plan: &Plan) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let first = TcpStream::connect(listener.local_addr()?)?;
        let (second, _) = listener.accept()?;
        // Without it the kernel may join messages that are sent while others are on their way.
        let nodelay = !plan.measure.is_throughput();
        let mut settings = String::new();
        for stream in [&first, &second] {
            stream.set_nodelay(nodelay)?;
            settings = enlarge_socket(stream);
        }
        Ok(Tcp { sides: (first, second), settings })
    }
}

impl Way for Tcp {
    type End = StreamEnd;

    fn open(plan: &Plan) -> Result<Self, Missing> {
        Self::connect(plan).map_err(missing("TCP over 127.0.0.1"))
    }

    fn settings(&self) -> String {
        format!("{}, TCP_NODELAY for latency only", self.settings)
    }

    fn into_end(self, side: Side, plan: &Plan) -> StreamEnd {
        match side {
            Side::First => both_ways(self.sides.0, plan),
            Side::Second => both_ways(self.sides.1, plan),
        }
    }
}
