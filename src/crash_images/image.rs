//! What a power cut at one moment may leave: which there are, and one of them as files.

use std::fs;
use std::path::Path;
use std::rc::Rc;

use super::moment::{FileState, Meta, Moment, SECTOR_BYTES};

/// Some of a moment's pending changes of metadata have reached the disk, and with them these files
/// under these names. Their sectors are to be chosen.
pub(super) struct Layout {
    pub(super) metas: Metas,
    files: Vec<Laid>,
    /// The sectors that changed: file, sector.
    open: Vec<(usize, usize)>,
}

struct Laid {
    name: String,
    bytes: usize,
    state: Rc<FileState>,
}

/// Which of a moment's pending changes of metadata have reached the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Metas {
    /// So many, from the first on;
    pub(super) first: usize,
    /// but for those removals of segments whose bit is set here, in their order: these are on the disk if they are
    /// behind the first so many, and are not if they are among them.
    pub(super) odd_removals: usize,
}

impl Metas {
    fn survived(self, moment: &Moment) -> Vec<&Meta> {
        let mut odd = self.odd_removals;
        let mut survives = |(index, meta): &(usize, &Meta)| {
            let mut is_odd = false;
            if meta.removes_a_segment() {
                (is_odd, odd) = (odd & 1 == 1, odd >> 1);
            }
            (*index < self.first) != is_odd
        };
        moment
            .pending
            .iter()
            .enumerate()
            .filter(|change| survives(change))
            .map(|(_, meta)| meta)
            .collect()
    }
}

/// For each open sector of a layout: 0 as it was synced, else which of the later versions.
pub(super) type Choice = Vec<usize>;

impl Layout {
    pub(super) fn new(moment: &Moment, metas: Metas) -> Self {
        let mut names = moment.names.clone();
        let survived = metas.survived(moment);
        survived.iter().for_each(|meta| meta.apply(&mut names));
        let mut files = Vec::new();
        let mut open = Vec::new();
        for (name, id) in names {
            let state = moment.files[&id].clone();
            let grown = survived.iter().filter_map(|meta| match meta {
                Meta::Size(of, bytes) if *of == id => Some(*bytes),
                _ => None,
            });
            let bytes = grown.fold(state.synced.len(), usize::max);
            let inside = state.changed.keys().filter(|sector| *sector * SECTOR_BYTES < bytes);
            open.extend(inside.map(|sector| (files.len(), *sector)));
            files.push(Laid { name, bytes, state });
        }
        Layout { metas, files, open }
    }

    fn versions(&self, (file, sector): (usize, usize)) -> usize {
        self.files[file].state.changed[&sector].len()
    }

    /// How many choices there are.
    pub(super) fn choices(&self) -> usize {
        let versions = self.open.iter().map(|open| 1 + self.versions(*open));
        versions.fold(1, |product: usize, one| product.saturating_mul(one))
    }

    /// The choice with this number, below [`choices`](Self::choices).
    pub(super) fn nth(&self, mut number: usize) -> Choice {
        let mut digit = |open: &(usize, usize)| {
            let radix = 1 + self.versions(*open);
            (number % radix, number /= radix).0
        };
        self.open.iter().map(&mut digit).collect()
    }

    /// All, none, one missing, one there, or as the dice fall.
    pub(super) fn random(&self, rng: &mut fastrand::Rng) -> Choice {
        let odd_one = rng.usize(..self.open.len().max(1));
        let (share, odd_share) = match rng.u8(..8) {
            0 => (1.0, 0.0),
            1 => (0.0, 1.0),
            2 => (1.0, 1.0),
            3 => (0.1, 0.1),
            4 => (0.9, 0.9),
            _ => (0.5, 0.5),
        };
        let mut choose = |(index, open): (usize, &(usize, usize))| {
            let versions = self.versions(*open);
            let share = if index == odd_one { odd_share } else { share };
            match rng.f64() < share {
                true if rng.u8(..4) == 0 => rng.usize(1..=versions),
                true => versions,
                false => 0,
            }
        };
        self.open.iter().enumerate().map(&mut choose).collect()
    }

    pub(super) fn has_segments(&self) -> bool {
        self.files.iter().any(|laid| laid.name.ends_with(".seg"))
    }

    /// Makes `dir`, whatever it held, the image.
    pub(super) fn write(&self, choice: &Choice, dir: &Path) {
        clear(dir);
        let mut chosen = self.open.iter().zip(choice).peekable();
        for (index, laid) in self.files.iter().enumerate() {
            let mut bytes = Vec::with_capacity(laid.bytes);
            bytes.extend_from_slice(&laid.state.synced);
            bytes.resize(laid.bytes, 0);
            while let Some(((_, sector), version)) = chosen.next_if(|((file, _), _)| *file == index)
            {
                if let Some(newer) = version.checked_sub(1) {
                    let from = sector * SECTOR_BYTES;
                    let version = &laid.state.changed[sector][newer];
                    bytes[from..from + SECTOR_BYTES].copy_from_slice(&version[..]);
                }
            }
            fs::write(dir.join(&laid.name), bytes).unwrap();
        }
    }
}

pub(super) fn clear(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}
