//! An allocator that overwrites every block before it is given back.
//!
//! Values and keys pass through buffers that no type of ours owns: those of the HTTP, JSON and TLS
//! libraries, and the key schedules that ring never wipes. Overwriting in the allocator covers all
//! of them at once. What it cannot cover is said in `docs/architecture.md`: the stack, registers
//! and memory that is still in use.
//!
//! Beside `process/program.rs`, the only file of the project that may contain `unsafe`.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// Passes every call on to `A`, the system's allocator unless a test says otherwise, and overwrites
/// each block with zeros before `A` gets it back.
///
/// Declared once, in `main.rs`, as `#[global_allocator]`.
///
/// The price: a block that grows is always copied, never extended in place, because extending may
/// move it and leave the old bytes behind.
pub struct ZeroOnFree<A = System>(A);

impl ZeroOnFree<System> {
    /// In front of the system's allocator.
    pub const fn new() -> Self {
        Self(System)
    }
}

impl Default for ZeroOnFree<System> {
    fn default() -> Self {
        Self::new()
    }
}

/// Overwrites `len` bytes at `block` with zeros, in a way that the compiler may not leave out.
///
/// # Safety
/// The `len` bytes at `block` must be valid for writes and not be in use by anyone else.
unsafe fn wipe(block: *mut u8, len: usize) {
    // SAFETY: writing is allowed by this function's own contract. Any bit pattern is a valid `u8`,
    // and after the write all of them are initialised, so that the slice below may be formed.
    let wiped = unsafe {
        block.write_bytes(0, len);
        std::slice::from_raw_parts(block, len)
    };
    // Without this the compiler knows that nobody reads the block again before it is freed, and
    // drops the write. The barrier makes it assume that somebody does.
    zeroize::optimization_barrier(wiped);
}

// SAFETY: every block comes from `A` with the layout that the caller gave and goes back to `A` with
// that same layout. Nothing here allocates, panics or unwinds. `realloc` keeps the trait's promise:
// the new block holds the old bytes up to the shorter length, and the old block stays untouched
// when no new one can be had.
unsafe impl<A: GlobalAlloc> GlobalAlloc for ZeroOnFree<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`, which is the same one.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as for `alloc`.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller says that `block` is a live block of this layout which nobody will use
        // again, so its bytes may be overwritten and it may be freed.
        unsafe {
            wipe(block, layout.size());
            self.0.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller says that `new_size` is not zero and, rounded up to the alignment,
        // does not overflow `isize`; the alignment comes from a valid layout.
        let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        // SAFETY: `new_layout` has a size that is not zero.
        let new_block = unsafe { self.0.alloc(new_layout) };
        if !new_block.is_null() {
            // SAFETY: both blocks are live, at least as long as what is copied, and distinct,
            // because the old one has not been freed. Afterwards the caller may not use it again.
            unsafe {
                new_block.copy_from_nonoverlapping(block, layout.size().min(new_size));
                self.dealloc(block, layout);
            }
        }
        new_block
    }
}

/// Makes glibc keep at most one arena for each core, at least two. By default it has eight for each,
/// and what threads free in them stays resident: a third of what a large bundle needs, measured with
/// `benches/bundle` (mallopt(3), `M_ARENA_MAX`). To be called before the first thread starts.
pub fn limit_arenas() {
    #[cfg(target_env = "gnu")]
    {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let arenas = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
        // SAFETY: a parameter and a number; no other thread runs that could allocate meanwhile.
        // Whether it was taken does not matter to anything but memory.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, arenas.max(2)) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Looks at every block that comes back, and counts the bytes that are not zero.
    #[derive(Default)]
    struct Inspector {
        returned: AtomicUsize,
        left_over: AtomicUsize,
        refuse_above: Option<usize>,
    }

    // SAFETY: passes on to the system's allocator; refusing is allowed at any time.
    unsafe impl GlobalAlloc for Inspector {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if self.refuse_above.is_some_and(|most| layout.size() > most) {
                return std::ptr::null_mut();
            }
            // SAFETY: the caller's layout.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: a live block, wholly written by `wipe` a moment ago.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            let dirty = bytes.iter().filter(|byte| **byte != 0).count();
            self.returned.fetch_add(layout.size(), Ordering::SeqCst);
            self.left_over.fetch_add(dirty, Ordering::SeqCst);
            // SAFETY: the caller's block and layout.
            unsafe { System.dealloc(block, layout) }
        }
    }

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).unwrap()
    }

    /// A block of `layout` full of 0xa5.
    fn filled(allocator: &ZeroOnFree<Inspector>, layout: Layout) -> *mut u8 {
        // SAFETY: the layout has a size; the block is as long as what is written.
        unsafe {
            let block = allocator.alloc(layout);
            assert!(!block.is_null());
            block.write_bytes(0xa5, layout.size());
            block
        }
    }

    #[test]
    fn a_freed_block_is_all_zeros_when_the_system_gets_it() {
        let allocator = ZeroOnFree(Inspector::default());
        let mut total = 0;
        for size in [1, 7, 8, 31, 4096, 1 << 20] {
            for align in [1, 16, 4096] {
                let layout = layout(size, align);
                let block = filled(&allocator, layout);
                // SAFETY: a live block of this layout, not used again.
                unsafe { allocator.dealloc(block, layout) };
                total += size;
            }
        }
        assert_eq!(allocator.0.returned.load(Ordering::SeqCst), total);
        assert_eq!(allocator.0.left_over.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_old_block_of_a_resize_is_all_zeros_and_the_bytes_move() {
        for (old, new) in [(64, 4096), (4096, 64), (100, 100)] {
            let allocator = ZeroOnFree(Inspector::default());
            let layout = layout(old, 8);
            let block = filled(&allocator, layout);
            // SAFETY: a live block of this layout; afterwards only the new block is used.
            let kept = unsafe {
                let moved = allocator.realloc(block, layout, new);
                assert!(!moved.is_null());
                let kept = std::slice::from_raw_parts(moved, old.min(new)).to_vec();
                System.dealloc(moved, Layout::from_size_align(new, 8).unwrap());
                kept
            };
            assert_eq!(kept, vec![0xa5; old.min(new)]);
            assert_eq!(allocator.0.returned.load(Ordering::SeqCst), old);
            assert_eq!(allocator.0.left_over.load(Ordering::SeqCst), 0);
        }
    }

    #[test]
    fn a_resize_that_fails_leaves_the_old_block_alone() {
        let allocator = ZeroOnFree(Inspector {
            refuse_above: Some(64),
            ..Inspector::default()
        });
        let layout = layout(64, 8);
        let block = filled(&allocator, layout);
        // SAFETY: a live block of this layout; the failed call leaves it live.
        unsafe {
            assert!(allocator.realloc(block, layout, 65).is_null());
            assert_eq!(std::slice::from_raw_parts(block, 64), [0xa5; 64]);
            assert_eq!(allocator.0.returned.load(Ordering::SeqCst), 0);
            allocator.dealloc(block, layout);
        }
    }
}
