//! Everyone, one file each.

mod bare;
mod buf_writer;
mod commit_log;
mod fjall;
mod lmdb;
mod maplog;
mod nano_wal;
mod okay_wal;
mod raft_engine;
mod redb;
mod simd_r_drive;
mod sqlite;
mod wal_db;
mod walrus;
mod xchannel;

use crate::peer::{About, Peer};

/// The name that all others are compared with.
pub const MAPLOG: &str = "maplog";

/// Something to be done with a peer's type.
pub trait Visitor {
    type Output;

    fn visit<P: Peer>(self) -> Self::Output;
}

macro_rules! all {
    ($($peer:ty,)*) => {
        pub const ALL: &[About] = &[$(<$peer as Peer>::ABOUT,)*];

        /// Does it with the peer of this name.
        pub fn visit<V: Visitor>(name: &str, visitor: V) -> V::Output {
            $(if name == <$peer as Peer>::ABOUT.name {
                return visitor.visit::<$peer>();
            })*
            panic!("nobody is called {name}")
        }
    };
}

all! {
    maplog::Maplog,
    maplog::WithWriter,
    bare::Bare,
    buf_writer::BufWriter,
    xchannel::Xchannel<false>,
    xchannel::Xchannel<true>,
    wal_db::WalDb,
    commit_log::CommitLog,
    okay_wal::OkayWal,
    raft_engine::RaftEngine,
    walrus::Walrus,
    nano_wal::NanoWal,
    simd_r_drive::SimdRDrive,
    sqlite::Sqlite,
    lmdb::Lmdb,
    redb::Redb,
    fjall::Fjall,
}
