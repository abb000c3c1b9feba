//! A named place in a fixed layout.
//!
//! Each field starts where the one before it ends, so a layout is written as a chain and never as
//! numbers: `const VERSION: Field<4> = MAGIC.then();`.

/// `N` bytes at a fixed place. All integers are little-endian.
#[derive(Clone, Copy)]
pub(crate) struct Field<const N: usize> {
    at: usize,
}

impl<const N: usize> Field<N> {
    /// The field at the start of a layout.
    pub(crate) const fn first() -> Self {
        Field { at: 0 }
    }

    /// The field that follows this one.
    pub(crate) const fn then<const M: usize>(self) -> Field<M> {
        Field { at: self.end() }
    }

    /// The field that follows, moved up to the next multiple of `align` bytes.
    pub(crate) const fn then_aligned<const M: usize>(self, align: usize) -> Field<M> {
        Field { at: self.end().next_multiple_of(align) }
    }

    pub(crate) const fn at(self) -> usize {
        self.at
    }

    pub(crate) const fn end(self) -> usize {
        self.at + N
    }

    /// The `index`-th of the eight-byte words that this field is an array of.
    pub(crate) const fn element(self, index: usize) -> Field<8> {
        let at = self.at + index * Field::<8>::first().end();
        assert!(at < self.end(), "the array has that many elements");
        Field { at }
    }

    /// The field's bytes. `layout` holds the whole layout, which every caller has checked.
    #[inline]
    pub(crate) fn get(self, layout: &[u8]) -> [u8; N] {
        let mut value = [0; N];
        value.copy_from_slice(&layout[self.at..self.end()]);
        value
    }

    #[inline]
    pub(crate) fn put(self, layout: &mut [u8], value: [u8; N]) {
        layout[self.at..self.end()].copy_from_slice(&value);
    }
}

impl Field<8> {
    #[inline]
    pub(crate) fn get_u64(self, layout: &[u8]) -> u64 {
        u64::from_le_bytes(self.get(layout))
    }

    #[inline]
    pub(crate) fn put_u64(self, layout: &mut [u8], value: u64) {
        self.put(layout, value.to_le_bytes());
    }
}

impl Field<4> {
    #[inline]
    pub(crate) fn get_u32(self, layout: &[u8]) -> u32 {
        u32::from_le_bytes(self.get(layout))
    }

    #[inline]
    pub(crate) fn put_u32(self, layout: &mut [u8], value: u32) {
        self.put(layout, value.to_le_bytes());
    }
}
