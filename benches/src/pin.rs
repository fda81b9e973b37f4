//! Threads that stay on their core.

/// Pins the calling thread to the core with this number, counted among those that the process may use. Where there is
/// no such core, or no way to pin, it runs wherever it is put, and says so.
pub fn to_core(number: usize) {
    let pinned = core_affinity::get_core_ids()
        .and_then(|cores| cores.get(number).copied())
        .is_some_and(core_affinity::set_for_current);
    if !pinned {
        eprintln!(
            "not pinned: there is no core {number} to be had, and the figures will be noisier"
        );
    }
}
