//! An allocator that counts live memory.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::shard::Sum;

static BYTES: Sum = Sum::new();
static BLOCKS: Sum = Sum::new();

#[global_allocator]
static COUNTING: Counting = Counting;

struct Counting;

// SAFETY: each method hands its arguments on to the system's allocator and adds nothing but a
// count.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller warrants.
        let block = unsafe { System.alloc(layout) };
        if !block.is_null() {
            BYTES.add(layout.size() as i64);
            BLOCKS.add(1);
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.add(-(layout.size() as i64));
        BLOCKS.add(-1);
        // SAFETY: as the caller warrants.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller warrants.
        let moved = unsafe { System.realloc(block, layout, size) };
        if !moved.is_null() {
            BYTES.add(size as i64 - layout.size() as i64);
        }
        moved
    }
}

/// Bytes and blocks that are allocated now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    pub(crate) bytes: i64,
    pub(crate) blocks: i64,
}

pub(crate) fn live() -> Live {
    Live {
        bytes: BYTES.get(),
        blocks: BLOCKS.get(),
    }
}
