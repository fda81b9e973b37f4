//! Threads that stay on their core.

use std::sync::OnceLock;

use core_affinity::CoreId;

/// Pins the calling thread to the core with this number, counted among those that the process may
/// use. Where there is no such core, or no way to pin, it runs wherever it is put, and says so.
pub fn to_core(number: usize) {
    // Asked for once, before anything is pinned: a thread inherits its maker's one core, and would
    // see no other.
    static CORES: OnceLock<Vec<CoreId>> = OnceLock::new();
    let cores = CORES.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default());
    let pinned = cores
        .get(number)
        .is_some_and(|core| core_affinity::set_for_current(*core));
    if !pinned {
        eprintln!(
            "not pinned: there is no core {number} to be had, and the figures will be noisier"
        );
    }
}
