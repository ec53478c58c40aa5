//! The memory allocator: which one the binary has, and how it gives back to the system what is free.
//!
//! jemalloc returns free pages a while after they became free, but only when somebody allocates in
//! the same arena, or from threads of its own, which it does not have where the C library is musl.
//! A process that has become idle would keep them. So the gateway has them returned on a timer:
//! setting an arena's delay to nothing returns every free page it has, and setting it again lets
//! the arena reuse pages as before.

use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// What `main` installs.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// For so long a page that became free is kept for its next use: jemalloc's default of ten seconds
/// is as long as an idle process may take to give everything back.
const DELAY_MS: isize = 5_000;

/// Sets the allocator up, once and before there are threads. Where another one is installed, as in
/// tests, it changes nothing.
pub fn set_up() {
    // A delay that cannot be set leaves jemalloc's own.
    b"arenas.dirty_decay_ms\0"
        .name()
        .write(DELAY_MS)
        .unwrap_or_default();
}

/// Returns to the system what is free now.
pub fn give_back() {
    let arenas: u32 = b"arenas.narenas\0".name().read().unwrap_or(0);
    for arena in 0..arenas {
        let delay = format!("arena.{arena}.dirty_decay_ms\0");
        let delay = delay.as_str().name();
        // An arena that was never used does not exist, and has nothing.
        if delay.write(0_isize).is_ok() {
            delay.write(DELAY_MS).unwrap_or_default();
        }
    }
}
