//! The socket that keeps messages apart.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::stream::enlarge_socket;
use super::{End, Missing, Side, Way, missing};
use crate::plan::Plan;

pub struct Seqpacket {
    sides: (OwnedFd, OwnedFd),
    settings: String,
}

impl Way for Seqpacket {
    type End = PacketEnd;

    fn open(_plan: &Plan) -> Result<Self, Missing> {
        let sides = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        );
        let sides = sides.map_err(|errno| missing("SOCK_SEQPACKET")(errno.into()))?;
        enlarge_socket(&sides.0);
        let settings = enlarge_socket(&sides.1);
        Ok(Seqpacket { sides, settings })
    }

    fn settings(&self) -> String {
        self.settings.clone()
    }

    fn into_end(self, side: Side, plan: &Plan) -> PacketEnd {
        let socket = match side {
            Side::First => self.sides.0,
            Side::Second => self.sides.1,
        };
        PacketEnd { socket, buffer: vec![0; plan.size + 1].into() }
    }
}

pub struct PacketEnd {
    socket: OwnedFd,
    /// A byte longer than a message, so that one that is too long is not cut unseen.
    buffer: Box<[u8]>,
}

impl End for PacketEnd {
    fn send(&mut self, message: &[u8]) {
        let sent = rustix::net::send(&self.socket, message, SendFlags::NOSIGNAL);
        assert_eq!(sent.expect("room in the socket"), message.len());
    }

    fn poll(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        match rustix::net::recv(&self.socket, &mut *self.buffer, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => 0,
            received => {
                take(&self.buffer[..received.expect("a packet").0]);
                1
            }
        }
    }

    fn wait(&mut self, take: &mut impl FnMut(&[u8])) -> u64 {
        let received = rustix::net::recv(&self.socket, &mut *self.buffer, RecvFlags::empty());
        take(&self.buffer[..received.expect("a packet").0]);
        1
    }
}
